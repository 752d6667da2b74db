// SPDX-License-Identifier: Apache-2.0
//! Help, version, exit codes, and the spelling of options.

use crate::support::{Env, Image};

const COMMANDS: [&str; 60] = [
    "config",
    "insert",
    "raw",
    "raw add-layer",
    "raw runtime-config",
    "raw unpack",
    "raw mtree-validate",
    "completions",
    "man",
    "init",
    "new",
    "unpack",
    "repack",
    "stat",
    "tag",
    "remove",
    "list",
    "gc",
    "ref",
    "ref create",
    "ref remove",
    "ref list",
    "ref log",
    "ref restore",
    "manifest",
    "manifest create",
    "manifest add",
    "manifest remove",
    "manifest annotate",
    "manifest show",
    "import",
    "export",
    "pull",
    "push",
    "list-tags",
    "login",
    "logout",
    "blob",
    "blob list",
    "blob show",
    "blob cat",
    "blob add",
    "attach",
    "detach",
    "referrers",
    "du",
    "fsck",
    "index",
    "index status",
    "index rebuild",
    "squash",
    "rebase",
    "layer",
    "layer list",
    "layer cat",
    "lease",
    "lease create",
    "lease list",
    "lease remove",
    "settings",
];

#[test]
fn every_command_has_help_that_names_it() {
    let env = Env::new();
    for command in COMMANDS {
        for flag in ["--help", "-h"] {
            let words: Vec<&str> = command.split(' ').chain([flag]).collect();
            let help = env.umoci(words).ok();
            let lines: Vec<&str> = help.lines().collect();
            assert!(
                lines[0] == "NAME:" && lines[1].starts_with(&format!("   umoci {command} - ")),
                "{help}"
            );
            assert!(help.contains("USAGE:"), "{help}");
        }
    }
    assert!(
        env.umoci(["help"])
            .ok()
            .contains("umoci - umoci modifies Open Container images")
    );
    assert_eq!(env.umoci::<&str>([]).ok(), env.umoci(["--help"]).ok());
    assert!(env.umoci(["rm", "-h"]).ok().contains("umoci remove"));
    assert!(
        env.umoci(["raw", "config", "-h"])
            .ok()
            .contains("umoci raw runtime-config")
    );
    assert!(env.umoci(["help", "ls"]).ok().contains("umoci list"));
}

#[test]
fn help_groups_options_and_fits_a_terminal() {
    let env = Env::new();
    let help = env.umoci(["config", "--help"]).ok();
    let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text} in {help}"));
    let order = [
        "EXAMPLES:",
        "ENVIRONMENT:",
        "CATEGORY:",
        "OPTIONS:",
        "\n   --image",
        "\n   history:\n     --no-history",
        "\n   container:\n     --config.user",
        "\n   image:\n     --created",
        "\n   annotations:\n     --manifest.annotation",
    ];
    assert!(order.map(at).is_sorted(), "{help}");
    assert!(
        help.lines().any(|line| line.len() > 100),
        "one line an option, off a terminal"
    );
    let program = env!("CARGO_BIN_EXE_umoci");
    let shown = env.sh(&format!(
        "COLUMNS=70 script -qec '{program} config --help' /dev/null | tr -d '\\r'"
    ));
    let long = shown
        .lines()
        .find(|line| line.chars().count() > 70 && !line.starts_with("     umoci "));
    assert_eq!(long, None);
    assert!(shown.contains("SOURCE_DATE_EPOCH"), "{shown}");
}

/// Options of a command, as its help lists them.
fn options(env: &Env, command: &str) -> Vec<String> {
    let help = env.umoci(command.split(' ').chain(["--help"])).ok();
    let lines = help.split("OPTIONS:\n").nth(1).unwrap_or_default().lines();
    lines
        .filter_map(|l| {
            l.trim()
                .split([' ', ','])
                .next()
                .filter(|w| w.starts_with("--"))
                .map(str::to_owned)
        })
        .collect()
}

/// What the tool that this one replaces has; from its contract.
const CONTRACT: [(&str, &[&str]); 15] = [
    (
        "config",
        &[
            "--image",
            "--tag",
            "--no-history",
            "--history.author",
            "--history.comment",
            "--history.created",
            "--history.created_by",
            "--config.user",
            "--config.exposedports",
            "--config.env",
            "--config.entrypoint",
            "--config.cmd",
            "--config.volume",
            "--config.label",
            "--config.workingdir",
            "--config.stopsignal",
            "--created",
            "--author",
            "--platform.os",
            "--platform.arch",
            "--platform.variant",
            "--manifest.annotation",
            "--clear",
        ],
    ),
    (
        "unpack",
        &[
            "--image",
            "--keep-dirlinks",
            "--limit",
            "--uid-map",
            "--gid-map",
            "--rootless",
        ],
    ),
    (
        "repack",
        &[
            "--image",
            "--mask-path",
            "--no-mask-volumes",
            "--refresh-bundle",
            "--compress",
            "--no-history",
            "--history.author",
            "--history.comment",
            "--history.created",
            "--history.created_by",
        ],
    ),
    ("gc", &["--layout"]),
    ("init", &["--layout"]),
    ("new", &["--image"]),
    ("tag", &["--image"]),
    ("remove", &["--image"]),
    ("list", &["--layout"]),
    ("stat", &["--image", "--json"]),
    (
        "insert",
        &[
            "--image",
            "--tag",
            "--opaque",
            "--whiteout",
            "--uid-map",
            "--gid-map",
            "--rootless",
            "--compress",
            "--no-history",
        ],
    ),
    (
        "raw add-layer",
        &[
            "--image",
            "--tag",
            "--compress",
            "--no-history",
            "--history.author",
        ],
    ),
    (
        "raw runtime-config",
        &["--image", "--rootfs", "--uid-map", "--gid-map", "--rootless"],
    ),
    (
        "raw unpack",
        &[
            "--image",
            "--keep-dirlinks",
            "--limit",
            "--uid-map",
            "--gid-map",
            "--rootless",
        ],
    ),
    (
        "raw mtree-validate",
        &[
            "--manifest",
            "--path",
            "--add-keywords",
            "--use-keywords",
            "--umoci-keywords",
            "--rootless",
        ],
    ),
];

#[test]
fn every_command_and_option_has_a_test() {
    let env = Env::new();
    let mut sources = Vec::new();
    for dir in ["tests/cli", "tests/registry"] {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        crate::support::sources(&dir, &mut sources);
    }
    let read = |p: &std::path::PathBuf| std::fs::read_to_string(p).expect("source");
    // This file only lists them.
    let text: String = sources
        .iter()
        .filter(|p| !p.ends_with("framework.rs"))
        .map(read)
        .collect();
    for command in COMMANDS {
        let words: Vec<String> = command.split(' ').map(|w| format!("\"{w}\"")).collect();
        assert!(words.iter().all(|w| text.contains(w)), "{command} has no test");
        for option in options(&env, command) {
            let words = [
                format!("\"{option}"),
                format!(" {option} "),
                format!(" {option}="),
            ];
            assert!(
                words.iter().any(|w| text.contains(w)),
                "umoci {command} {option} has no test"
            );
        }
    }
    for (command, wanted) in CONTRACT {
        let have = options(&env, command);
        let missing: Vec<_> = wanted.iter().filter(|w| !have.iter().any(|h| h == *w)).collect();
        assert!(missing.is_empty(), "umoci {command} lacks {missing:?}");
    }
}

#[test]
fn the_version_has_its_four_lines() {
    let version = Env::new().umoci(["--version"]).ok();
    let lines: Vec<&str> = version.lines().collect();
    assert_eq!(lines[0], format!("umoci version {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines[1..3], ["image spec: 1.1.1", "runtime spec: 1.0.2"]);
    // The compiler that built the program is the one that built this test.
    assert_eq!(lines[3..], [format!("rust: {}", env!("UMOCI_RUSTC"))]);
    let numbers: Vec<u32> = env!("UMOCI_RUSTC")
        .split(['.', '-'])
        .take(3)
        .map(|n| n.parse().expect("number"))
        .collect();
    assert!(
        numbers.len() == 3 && (numbers[0], numbers[1]) >= (1, 90),
        "{numbers:?}"
    );
}

#[test]
fn what_does_not_fit_ends_with_code_1_and_the_help() {
    let env = Env::new();
    for (words, want) in [
        (&["ls", "--nope"][..], "flag provided but not defined: -nope"),
        (&["ls", "--layout"], "flag needs an argument: -layout"),
        (&["--nope", "ls"], "flag provided but not defined: -nope"),
    ] {
        let out = env.umoci(words);
        assert_eq!(out.code, Some(1));
        assert!(
            out.stdout.starts_with("Incorrect Usage") && out.stdout.contains("NAME:"),
            "{}",
            out.stdout
        );
        assert!(out.stderr.contains(want), "{}", out.stderr);
    }
    for (words, help, want) in [
        (
            &["gc", "--lock-timeout=abc"][..],
            Some("gc"),
            "invalid --lock-timeout: \"abc\": invalid digit found in string",
        ),
        (
            &["raw", "unpack", "--lock-timeout", "-1"],
            Some("raw unpack"),
            "invalid --lock-timeout: \"-1\": invalid digit found in string",
        ),
        (
            &["stat", "--json=maybe"],
            Some("stat"),
            "invalid boolean value \"maybe\" for -json: parse error",
        ),
        (
            &["fsck", "--lock-timeout=abc"],
            None,
            "invalid --lock-timeout: \"abc\": invalid digit found in string",
        ),
        (
            &["ref", "list", "--json=maybe"],
            None,
            "invalid boolean value \"maybe\" for -json: parse error",
        ),
        (
            &["import", "--nope"],
            None,
            "flag provided but not defined: -nope",
        ),
        (&["du", "--layout"], None, "flag needs an argument: -layout"),
        // Values that the command looks at itself.
        (
            &["repack", "--image", "x", "--compress", "lz", "b"],
            None,
            "invalid --compress: unknown layer compression type \"lz\"",
        ),
        (
            &["new", "--image", "x", "--rootless"],
            None,
            "missing mandatory argument: --from",
        ),
    ] {
        let out = env.umoci(words);
        assert_eq!(
            (out.code, out.stderr.as_str()),
            (Some(1), format!("   ⨯ {want}\n").as_str())
        );
        let lines: Vec<&str> = out.stdout.lines().take(4).collect();
        let head = help.map(|name| {
            [
                format!("Incorrect Usage: {want}"),
                String::new(),
                "NAME:".to_owned(),
                format!("   umoci {name} -"),
            ]
        });
        match head {
            None => assert_eq!(out.stdout, "", "{words:?}"),
            Some(head) => assert!(
                lines[..3] == head[..3] && lines[3].starts_with(&head[3]),
                "{words:?}: {lines:?}"
            ),
        }
    }
    for words in [&["foo"][..], &["help", "foo"], &["ref", "foo"]] {
        let out = env.umoci(words);
        assert_eq!(
            (out.code, out.stderr.as_str()),
            (Some(3), "No help topic for 'foo'\n")
        );
    }
    for (words, name, near) in [
        (&["lst"][..], "lst", "list"),
        (&["fsk"], "fsk", "fsck"),
        (&["help", "unpak"], "unpak", "unpack"),
        (&["ref", "restor"], "restor", "restore"),
        (&["raw", "unpck"], "unpck", "unpack"),
    ] {
        let want = format!("No help topic for '{name}'\nDid you mean '{near}'?\n");
        assert_eq!(env.umoci(words).stderr, want);
    }
    for (words, want) in [
        (
            &["--verbose", "--log=info", "ls", "--layout", "x"][..],
            "--log=* and --verbose are mutually exclusive",
        ),
        (
            &["--log=loud", "ls", "--layout", "x"],
            "parsing log level: invalid level",
        ),
        (
            &["ls", "--layout", "a:b"],
            "invalid --layout: path contains ':' character: \"a:b\"",
        ),
        (&["ls"], "missing mandatory argument: --layout"),
    ] {
        assert_eq!(env.umoci(words).fails(), want);
    }
}

#[test]
fn an_operand_in_place_of_a_missing_option_is_told_its_place() {
    let image = Image::new();
    for (line, hint) in [
        ("stat img", "--image; write --image img"),
        ("unpack img:app b", "--image; write --image img:app"),
        ("unpack none:app b", "--image; write --image none:app"),
        ("unpack b", "--image"),
        ("stat", "--image"),
        ("gc img", "--layout; write --layout img"),
        ("ref log img latest", "--layout; write --layout img"),
        ("ref log latest", "--layout"),
        ("ref log img:app", "--layout; write --layout img app"),
        ("ref log none:app", "--layout"),
        ("fsck img:app", "--layout; write --layout img"),
        (
            "export oci-archive:x img:app",
            "--layout; write --layout img --tag app",
        ),
        ("import img:app", "--layout"),
        ("attach img", "--to"),
    ] {
        assert_eq!(
            image.env.umoci(line.split(' ')).fails(),
            format!("missing mandatory argument: {hint}"),
            "{line}"
        );
    }
}

#[test]
fn options_are_read_in_every_spelling() {
    let image = Image::new();
    let want = image.env.umoci(["stat", "--image", "img:latest", "--json"]).ok();
    for words in [
        &["stat", "-image", "img:latest", "-json"][..],
        &["stat", "--json=true", "--image=img:latest"],
        &["stat", "--json", "--image=wrong", "--image=img"],
        &["--log", "error", "stat", "--json=1", "-image=img"],
    ] {
        assert_eq!(image.env.umoci(words).ok(), want, "{words:?}");
    }
}

#[test]
fn steps_are_logged_when_asked_for() {
    let image = Image::new();
    let out = image.env.umoci(["--verbose", "rm", "--image", "img"]);
    assert_eq!(
        (out.stdout.as_str(), out.stderr.as_str()),
        ("", "   • removed tag: latest\n")
    );
}

#[test]
fn output_that_nobody_reads_ends_quietly_and_a_full_one_is_an_error() {
    let image = Image::new();
    let program = env!("CARGO_BIN_EXE_umoci");
    assert_eq!(
        image
            .env
            .sh(&format!("{program} stat --image img | head -n 1 2>&1")),
        "== MANIFEST ==\n"
    );
    let out = image.env.run(
        "/bin/sh",
        ["-c", &format!("{program} ls --layout img >/dev/full")],
    );
    assert!(out.fails().contains("no space left on device"));
}

/// The strings of a profile, which is a gzip'd message of protocol buffers.
fn profile_strings(bytes: &[u8]) -> Vec<String> {
    use std::io::Read as _;
    let mut message = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut message)
        .expect("gzip");
    let mut rest = message.as_slice();
    let number = |rest: &mut &[u8]| {
        let end = rest.iter().position(|c| c & 0x80 == 0).expect("end of a number");
        let (digits, behind) = rest.split_at(end + 1);
        *rest = behind;
        digits.iter().rev().fold(0, |n, d| n << 7 | usize::from(d & 0x7f))
    };
    let mut strings = Vec::new();
    while !rest.is_empty() {
        let key = number(&mut rest);
        let value = number(&mut rest);
        if key & 7 == 2 {
            let (bytes, behind) = rest.split_at(value);
            rest = behind;
            if key >> 3 == 6 {
                strings.push(String::from_utf8(bytes.to_vec()).expect("utf-8"));
            }
        }
    }
    strings
}

#[test]
fn a_cpu_profile_is_written_for_go_tool_pprof() {
    let image = Image::new();
    let env = &image.env;
    env.umoci([
        "--cpu-profile",
        "p",
        "unpack",
        "--rootless",
        "--image",
        "img",
        "b",
    ])
    .ok();
    let strings = profile_strings(&std::fs::read(env.path("p")).expect("profile"));
    assert_eq!(strings[..5], ["", "samples", "count", "cpu", "nanoseconds"]);
    assert!(strings.iter().any(|s| s == "umoci") && strings.iter().any(|s| s.starts_with("thread ")));

    // A run that fails has one as well; one that cannot be written stops the run before it begins.
    assert!(
        env.umoci(["--cpu-profile=q", "stat", "--image", "img:none"])
            .fails()
            .contains("none")
    );
    assert!(!profile_strings(&std::fs::read(env.path("q")).expect("profile")).is_empty());
    let why = env
        .umoci(["--cpu-profile", "no/p", "init", "--layout", "new"])
        .fails();
    assert!(why.starts_with("create CPU profile no/p: no such file"), "{why}");
    assert!(!env.path("new").exists());
    assert!(!env.umoci(["--help"]).ok().contains("cpu-profile"));
}
