// SPDX-License-Identifier: Apache-2.0
//! `umoci completions`, what the scripts ask, and `umoci man`

use crate::support::{Env, Image};

const PROGRAM: &str = env!("CARGO_BIN_EXE_umoci");

/// Types the last word at a program on a terminal, until that ends; passes its exit code on.
const TYPE: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:-1])
os.write(terminal, sys.argv[-1].encode())
try:
    while os.read(terminal, 65536):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// A room with a layout that has some tags and a lease, and things that are none.
fn room() -> Image {
    let image = Image::new();
    image.env.umoci(["tag", "--image", "img", "v1"]).ok();
    image.env.umoci(["tag", "--image", "img", "v1-slim"]).ok();
    image
        .env
        .umoci(["raw", "unpack", "--image", "img", "rootfs"])
        .ok();
    image
        .env
        .sh("mkdir 'a b' empty; touch archive.tar; ln -s img link");
    image
}

/// Candidates for the last word, without what is said of them.
fn candidates(env: &Env, words: &[&str]) -> Vec<String> {
    let answer = env.umoci([&["__complete"], words].concat()).ok();
    let word = |line: &str| line.split('\t').next().expect("word").to_owned();
    answer.lines().map(word).collect()
}

#[test]
fn completion_offers_what_there_is() {
    let image = room();
    let env = &image.env;
    let digest = image.manifest()["layers"][0]["digest"].clone();
    env.umoci([
        "lease",
        "create",
        "--layout",
        "img",
        "job",
        digest.as_str().expect("digest"),
    ])
    .ok();
    for (words, want) in [
        (&["stat", "--image", "i"][..], &["img:"][..]),
        (&["stat", "--image", "./i"], &["./img:"]),
        (&["stat", "--image", "~/i"], &["~/img:"]),
        (&["stat", "--image", "img:v"], &["img:v1", "img:v1-slim"]),
        (&["stat", "--image=img:v1-"], &["--image=img:v1-slim"]),
        (&["stat", "-image", "link:l"], &["link:latest"]),
        (&["stat", "--layout", "none", "--image", "none:"], &[]),
        (&["layer", "list", "img:l"], &["img:latest"]),
        (&["layer", "cat", "img", ""], &["1", "2"]),
        (
            &["raw", "unpack", "--image", "img:v1", "--layer", ""],
            &["1", "2"],
        ),
        (&["tag", "--image", "img", "v"], &["v1", "v1-slim"]),
        (&["ref", "log", "--layout", "img", "la"], &["latest"]),
        (&["export", "--layout", "img", "--tag", "v1-"], &["v1-slim"]),
        (&["rebase", "img", "--old", "la"], &["latest"]),
        (&["manifest", "create", "img:all", "v1-"], &["v1-slim"]),
        (&["manifest", "create", "img:all", "im"], &["img:"]),
        (&["attach", "--to", "img:la"], &["img:latest"]),
        (&["lease", "remove", "--layout", "img", ""], &["job"]),
        (&["gc", "--layout", "i"], &["img"]),
        (&["gc", "--layout", "e"], &["empty/"]),
        (&["import", "oci"], &["oci-archive:", "oci:"]),
        (&["import", "oci:img:l"], &["oci:img:latest"]),
        (
            &["import", "oci-archive:a"],
            &["oci-archive:a b/", "oci-archive:archive.tar"],
        ),
        (&["new", "--from", "r"], &["rootfs/"]),
        (&["unpack", "--image", "img", "rootfs/e"], &["rootfs/etc/"]),
        (&["repack", "--compress", "gz"], &["gzip"]),
        (&["--log=in"], &["--log=info"]),
        (&["ref", "list", "--sort", ""], &["age", "name", "size", "used"]),
        (&["raw", "m"], &[]),
    ] {
        assert_eq!(candidates(env, words), want, "{words:?}");
    }
}

#[test]
fn completion_of_strange_layouts_says_nothing_wrong() {
    let image = room();
    let env = &image.env;
    // Names that no command takes, and that a shell would take for something else.
    env.sh(
        "cp -r img odd; jq '.manifests |= map(.annotations[\"org.opencontainers.image.ref.name\"] |= \"$(touch hit) \" + .)' img/index.json >odd/index.json
         cp -r img torn; head -c 30 img/index.json >torn/index.json
         cp -r img pipe; rm pipe/index.json; mkfifo pipe/index.json
         cp -r img bare; rm -r bare/index.json bare/blobs
         mkdir $'line\\nfeed'",
    );
    let files = "find odd torn pipe bare | sort";
    let before = env.sh(files);
    for layout in ["odd", "torn", "pipe", "bare"] {
        let words = [format!("{layout}:")];
        assert_eq!(
            candidates(env, &["stat", "--image", &words[0]]),
            Vec::<String>::new(),
            "{layout}"
        );
    }
    assert_eq!(env.sh(files), before, "completion writes nothing");
    assert_eq!(candidates(env, &["stat", "--image", "lin"]), ["link:"]);
}

#[test]
fn bash_gets_words_that_it_had_cut() {
    let image = room();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "w2@x"]).ok();
    for (line, words, want) in [
        ("umoci stat --image im", "umoci stat --image im", "img:"),
        (
            "umoci stat --image img:v",
            "umoci stat --image img : v",
            "v1 v1-slim",
        ),
        (
            "umoci stat --image img:",
            "umoci stat --image img :",
            "latest v1 v1-slim w2@x",
        ),
        ("umoci stat --image img:w2@", "umoci stat --image img : w2 @", "x"),
        (
            "umoci stat --image=img:l",
            "umoci stat --image = img : l",
            "latest",
        ),
        ("umoci stat   --js", "umoci stat --js", "--json"),
        (
            "umoci raw unpack --image img \"a",
            "umoci raw unpack --image img \"a",
            "a\\ b/",
        ),
        ("umoci unp", "umoci unp", "unpack"),
    ] {
        let script = format!(
            "source <({PROGRAM} completions bash); compopt() {{ :; }}
             COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; read -ra COMP_WORDS <<<'{words}'
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _umoci {PROGRAM}; echo \"${{COMPREPLY[*]}}\""
        );
        assert_eq!(env.sh(&script).trim_end(), want, "{line}");
    }
}

#[test]
#[ignore = "needs python3, zsh and fish: run by tests/all.sh"]
fn tabs_complete_tags_in_every_shell() {
    let image = room();
    let env = &image.env;
    env.sh(&format!("ln -s {PROGRAM} umoci"));
    for (shell, load, new) in [
        (
            &["bash", "--norc", "-i"][..],
            "source <(umoci completions bash)",
            "of-bash",
        ),
        (
            &["zsh", "-f", "-i"],
            "autoload -Uz compinit; compinit -u -D; source <(umoci completions zsh)",
            "of-zsh",
        ),
    ] {
        let typed = format!("PATH=$HOME:$PATH\n{load}\numoci tag --image img:lat\t{new}\nexit 0\n");
        env.run("python3", [&["-c", TYPE], shell, &[typed.as_str()]].concat())
            .ok();
        assert!(env.umoci(["ls", "--layout", "img"]).ok().contains(new), "{new}");
    }
    let script =
        "set PATH $HOME $PATH; umoci completions fish | source; complete -C 'umoci stat --image img:v'";
    assert_eq!(
        env.run("fish", ["--no-config", "-c", script]).ok(),
        "img:v1\nimg:v1-slim\n"
    );
    env.umoci(["completions", "tcsh"]).fails();
}

#[test]
fn manual_pages_have_every_section() {
    let env = Env::new();
    env.umoci(["man", "pages"]).ok();
    for (page, sections) in [
        ("umoci", "COMMANDS GLOBAL.OPTIONS EXAMPLES ENVIRONMENT"),
        ("umoci-unpack", "OPTIONS EXAMPLES"),
        ("umoci-raw-add-layer", "OPTIONS EXAMPLES ENVIRONMENT"),
        ("umoci-ref", "COMMANDS"),
        ("umoci-ref-create", "OPTIONS EXAMPLES"),
    ] {
        let text = env.read(&format!("pages/{page}.1"));
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "EXIT STATUS",
            "FILES",
            "SEE ALSO",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain(sections.split(' ').map(|s| s.replace('.', " ")))
        {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{page}: {section}");
        }
    }
    let unpack = env.read("pages/umoci-unpack.1");
    let synopsis = "\\fBumoci unpack\\fR [\\fIoptions\\fR] \\fB\\-\\-image\\fR \\fIimage\\-path\\fR[:\\fItag\\fR] \\fIbundle\\fR\n";
    assert!(unpack.contains(synopsis), "{unpack}");
    assert!(
        env.read("pages/umoci-fsck.1")
            .contains("\\fB4\\fR\nall that was wrong is mended")
    );
    let names = env.sh("ls pages");
    assert!(
        !names.contains("mtree") && !names.contains("complete"),
        "hidden: {names}"
    );
}

#[test]
#[ignore = "needs mandoc: run by tests/all.sh"]
fn manual_pages_are_well_formed() {
    let env = Env::new();
    env.umoci(["man", "pages"]).ok();
    // A page has no date: the same program writes the same pages.
    let found = env.sh("for page in pages/*.1; do mandoc -T lint -W warning $page || true; done | grep -v 'missing date' || true");
    assert_eq!(found, "");
}
