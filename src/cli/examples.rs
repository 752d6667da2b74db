// SPDX-License-Identifier: Apache-2.0
//! Examples of every command, for help and manual pages.

/// An example: a sentence without its full stop, and the command line.
pub type Example = (&'static str, &'static str);

/// Examples by command, in the order in which they are shown; the program itself has the name "".
pub const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "",
        &[
            (
                "Make a layout, and an image of a directory",
                "umoci init --layout store",
            ),
            ("", "umoci new --image store:app --from ./rootfs"),
            (
                "Change files of the image",
                "umoci unpack --image store:app bundle",
            ),
            ("", "umoci repack --image store:app bundle"),
            ("Explain a command", "umoci repack --help"),
        ],
    ),
    ("init", &[("Make an empty layout", "umoci init --layout store")]),
    (
        "new",
        &[
            ("Make an image without layers", "umoci new --image store:app"),
            (
                "Make an image of a directory",
                "umoci new --image store:app --from ./rootfs",
            ),
            (
                "Make an image of a tar archive, for another platform",
                "umoci new --image store:app --from rootfs.tar.gz --platform linux/arm64",
            ),
        ],
    ),
    (
        "config",
        &[
            (
                "Set what a container runs, and a variable",
                "umoci config --image store:app --config.entrypoint /bin/app --config.env MODE=fast",
            ),
            (
                "Leave the command out, under another tag",
                "umoci config --image store:app --tag next --clear config.cmd",
            ),
            (
                "Look at the result first",
                "umoci config --image store:app --config.user 1000:1000 --dry-run",
            ),
        ],
    ),
    (
        "unpack",
        &[
            ("Unpack an image as root", "umoci unpack --image store:app bundle"),
            (
                "Unpack it as a plain user",
                "umoci unpack --rootless --image store:app bundle",
            ),
            (
                "Unpack the image for another platform",
                "umoci unpack --image store:app --platform linux/arm64 bundle",
            ),
        ],
    ),
    (
        "repack",
        &[
            (
                "Make a layer of all changes, and tag the new image",
                "umoci repack --image store:changed bundle",
            ),
            (
                "Leave changes below /tmp out, and go on with the same bundle",
                "umoci repack --image store:changed --mask-path /tmp --refresh-bundle bundle",
            ),
        ],
    ),
    (
        "stat",
        &[
            ("Show an image", "umoci stat --image store:app"),
            ("Print it for a program", "umoci stat --image store:app --json"),
        ],
    ),
    (
        "tag",
        &[("Give an image a second tag", "umoci tag --image store:app v1")],
    ),
    ("remove", &[("Remove a tag", "umoci remove --image store:v1")]),
    (
        "list",
        &[("List the tags of a layout", "umoci list --layout store")],
    ),
    (
        "insert",
        &[
            (
                "Add a file, and then a directory",
                "umoci insert --image store:app ./app /usr/bin/app",
            ),
            ("", "umoci insert --image store:app ./share /usr/share/app"),
            (
                "Replace a directory and all that was in it",
                "umoci insert --image store:app --opaque ./conf /etc/app",
            ),
            (
                "Remove a path",
                "umoci insert --image store:app --whiteout /usr/share/doc",
            ),
        ],
    ),
    (
        "raw add-layer",
        &[(
            "Add a finished tar archive as a layer",
            "umoci raw add-layer --image store:app layer.tar",
        )],
    ),
    (
        "raw runtime-config",
        &[(
            "Write the configuration of a runtime for a root file system that is there",
            "umoci raw runtime-config --image store:app --rootfs rootfs config.json",
        )],
    ),
    (
        "raw unpack",
        &[
            (
                "Extract an image without making a bundle",
                "umoci raw unpack --image store:app rootfs",
            ),
            (
                "Extract its second layer alone",
                "umoci raw unpack --image store:app --layer 2 tree",
            ),
        ],
    ),
    (
        "gc",
        &[
            (
                "Show what would go, and remove it",
                "umoci gc --layout store --dry-run",
            ),
            ("", "umoci gc --layout store"),
            (
                "Keep releases and what changed within a month, and remove all other tags",
                "umoci gc --layout store --keep 'release-*' --keep 30d",
            ),
            (
                "Keep the five nightly builds that were tagged last, and no other nightly build",
                "umoci gc --layout store --keep-last 'nightly-*=5'",
            ),
            (
                "Remove the tags used least recently until all blobs fit into 20 GB",
                "umoci gc --layout store --max-size 20GB",
            ),
        ],
    ),
    (
        "ref create",
        &[
            (
                "Name an image by its digest",
                "umoci ref create --layout store build-7 --digest 6c3c624b58",
            ),
            (
                "Give a name a second name",
                "umoci ref create --layout store stable --from build-7",
            ),
        ],
    ),
    (
        "ref remove",
        &[
            ("Remove a name", "umoci ref remove --layout store build-7"),
            (
                "Show which names a pattern removes, and remove them",
                "umoci ref remove --layout store --dry-run 'build-*'",
            ),
            ("", "umoci ref remove --layout store 'build-*'"),
        ],
    ),
    (
        "ref list",
        &[
            (
                "List names and what they point at",
                "umoci ref list --layout store",
            ),
            (
                "List the builds, the largest first",
                "umoci ref list --layout store --filter 'build-*' --sort size",
            ),
        ],
    ),
    (
        "ref log",
        &[("Show the changes of a name", "umoci ref log --layout store app")],
    ),
    (
        "ref restore",
        &[
            (
                "Undo the last change of a name, also its removal",
                "umoci ref restore --layout store app",
            ),
            (
                "Go back three changes",
                "umoci ref restore --layout store app@{3}",
            ),
        ],
    ),
    (
        "manifest create",
        &[(
            "Make an index of two images of the layout and one of another",
            "umoci manifest create store:all amd64 arm64 other:arm",
        )],
    ),
    (
        "manifest add",
        &[(
            "Add an image whose platform is not in its config",
            "umoci manifest add store:all win --os windows --arch amd64",
        )],
    ),
    (
        "manifest remove",
        &[(
            "Remove the image for a platform",
            "umoci manifest remove store:all windows/amd64",
        )],
    ),
    (
        "manifest annotate",
        &[(
            "Set the variant of an entry",
            "umoci manifest annotate store:all linux/arm64 --variant v8",
        )],
    ),
    (
        "manifest show",
        &[("Show the entries of an index", "umoci manifest show store:all")],
    ),
    (
        "import",
        &[
            (
                "Copy an image out of another layout, under a tag of its own",
                "umoci import debian:bookworm --layout store --tag base",
            ),
            (
                "Copy all images of an archive",
                "umoci import docker-archive:images.tar --layout store",
            ),
            (
                "Copy an image that another program pipes",
                "docker save app | umoci import docker-archive:- --layout store",
            ),
            (
                "Copy the second image of an archive, unless the tag exists, and note its digest",
                "umoci import oci-archive:images.tar:@1 --layout store --tag app --no-clobber --digestfile app.digest",
            ),
        ],
    ),
    (
        "export",
        &[
            (
                "Copy an image to a layout to give away",
                "umoci export out:app --layout store --tag app",
            ),
            (
                "Write an archive for docker load",
                "umoci export docker-archive:app.tar --layout store --tag app",
            ),
        ],
    ),
    (
        "blob list",
        &[("List all blobs", "umoci blob list --layout store")],
    ),
    (
        "blob show",
        &[(
            "Show who needs a blob",
            "umoci blob show --layout store 6c3c624b58",
        )],
    ),
    (
        "blob cat",
        &[("Print a manifest", "umoci blob cat --layout store 6c3c624b58")],
    ),
    (
        "blob add",
        &[(
            "Store a file for two hours",
            "umoci blob add --layout store --lease job-17 --expires 2h result.tar.gz",
        )],
    ),
    (
        "attach",
        &[(
            "Attach an SBOM to an image",
            "umoci attach sbom.json:application/spdx+json --to store:app --artifact-type application/spdx+json",
        )],
    ),
    (
        "detach",
        &[(
            "Remove all SBOMs of an image",
            "umoci detach store:app --artifact-type application/spdx+json",
        )],
    ),
    (
        "referrers",
        &[("List what is attached to an image", "umoci referrers store:app")],
    ),
    ("du", &[("Show who holds how much", "umoci du --layout store")]),
    (
        "fsck",
        &[
            ("Check a layout", "umoci fsck --layout store"),
            (
                "Mend it, with good copies of blobs from another layout",
                "umoci fsck --layout store --repair --from backup",
            ),
        ],
    ),
    (
        "index status",
        &[("Show what the index knows", "umoci index status --layout store")],
    ),
    (
        "index rebuild",
        &[("Make the index anew", "umoci index rebuild --layout store")],
    ),
    (
        "layer list",
        &[("List the layers of an image", "umoci layer list store:app")],
    ),
    (
        "layer cat",
        &[(
            "List the files of its second layer",
            "umoci layer cat store:app 2 | tar -tv",
        )],
    ),
    (
        "squash",
        &[
            (
                "Make one layer of all, under another tag",
                "umoci squash store:app --tag small",
            ),
            (
                "Show what a merge of all but the two lowest layers would write",
                "umoci squash store:app --from 3 --dry-run",
            ),
        ],
    ),
    (
        "rebase",
        &[(
            "Put an image on a newer base",
            "umoci rebase store:app --old base-1 --new base-2",
        )],
    ),
    (
        "lease create",
        &[(
            "Keep a blob for two hours",
            "umoci lease create --layout store --expires 2h job-17 6c3c624b58",
        )],
    ),
    (
        "lease list",
        &[("List the leases", "umoci lease list --layout store")],
    ),
    (
        "lease remove",
        &[("End a lease", "umoci lease remove --layout store job-17")],
    ),
    (
        "settings",
        &[
            ("Show the settings", "umoci settings --layout store"),
            (
                "Let changes of tags be undone for a week",
                "umoci settings --layout store --reflog-keep 7d",
            ),
        ],
    ),
    (
        "completions",
        &[
            ("Complete in this bash", "source <(umoci completions bash)"),
            (
                "Complete in every fish from now on",
                "umoci completions fish >~/.config/fish/completions/umoci.fish",
            ),
        ],
    ),
    (
        "man",
        &[(
            "Write the pages where man finds them",
            "umoci man /usr/local/share/man/man1",
        )],
    ),
];
