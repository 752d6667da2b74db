// SPDX-License-Identifier: Apache-2.0
//! `umoci diff`

use super::{images, images_of, layer_digest, lose_layer, run};
use crate::support::{Env, Tar};

/// Two images with a difference of each kind.
fn differing() -> Env {
    let changed = Tar::new().list(&[
        "f d/new=12345",
        "f d/text=one\nTWO\nthree\n",
        "l d/kind=text",
        "w d/gone",
        "h d/second=d/moved",
    ]);
    let touched = changed.entry(b"d/touched", b'0', b"same", |header| {
        header[100..107].copy_from_slice(b"0000640")
    });
    images_of(vec![
        Tar::new().list(&[
            "d d",
            "f d/gone=bytes",
            "f d/kind=file",
            "f d/moved=moved",
            "f d/same=same",
            "f d/text=one\ntwo\nthree\n",
            "f d/touched=same",
        ]),
        touched,
    ])
}

#[test]
fn each_form_tells_each_kind_of_difference() {
    let env = differing();
    for (words, want) in [
        (
            "",
            "D\td/gone\nT\td/kind\nA\td/new\nA\td/second\nM\td/text\nm\td/touched\n",
        ),
        (
            "--numstat",
            "0\t5\td/gone\n4\t4\td/kind\n5\t0\td/new\n0\t0\td/second\n14\t14\td/text\n0\t0\td/touched\n",
        ),
        (
            "--stat",
            " d/gone    | D 5B -------\n d/kind    | T file -> link\n d/new     | A 5B +++++++\n d/second  | A 0B\n \
             d/text    | M 14B -> 14B ++++++++++++++++++++--------------------\n d/touched | m mode\n \
             6 paths changed, 2 added, 2 modified, 1 metadata only, 1 removed (+0B)\n",
        ),
        (
            "--ignore=mode,links",
            "D\td/gone\nT\td/kind\nA\td/new\nA\td/second\nM\td/text\n",
        ),
        ("--quiet", ""),
    ] {
        let words = format!("diff {words} img:1 img:2").replace("  ", " ");
        let (out, code) = run(&env, &words);
        assert_eq!(out, want, "{words}");
        assert_eq!(code, i32::from(words.contains("quiet")), "{words}");
    }
    for (words, want) in [
        ("diff img:1 img:2 d/new d/text", "A\td/new\nM\td/text\n"),
        ("diff img:1 img:2 -- d/n", ""),
        ("diff img:2~1 img:1", ""),
        ("diff img:2 img:1 -- d/gone d/new", "A\td/gone\nD\td/new\n"),
    ] {
        assert_eq!(run(&env, words), (want.to_owned(), 0), "{words}");
    }
}

#[test]
fn the_exit_code_tells_whether_there_is_a_difference() {
    let env = differing();
    for (words, want) in [
        ("--exit-code img:1 img:2", 1),
        ("--exit-code img:1 img:1", 0),
        ("--exit-code img:1 img:2 d/same", 0),
        ("--quiet --layers img:1 img:2", 1),
        ("--quiet --config img:2 img:2", 0),
        ("img:1 img:2", 0),
    ] {
        assert_eq!(run(&env, &format!("diff {words}")).1, want, "{words}");
    }
}

#[test]
fn a_raw_line_has_modes_and_whole_digests() {
    let env = differing();
    let (out, _) = run(&env, "diff --raw img:1 img:2 d/text d/kind");
    let sum = |text: &str| {
        env.sh(&format!("printf '{text}' | sha256sum | cut -d' ' -f1"))
            .trim()
            .to_owned()
    };
    let want = [
        format!(":100644 120000 {} {} T\td/kind\n", sum("file"), sum("text")),
        format!(
            ":100644 100644 {} {} M\td/text\n",
            sum("one\\ntwo\\nthree\\n"),
            sum("one\\nTWO\\nthree\\n")
        ),
    ];
    assert_eq!(out, want.concat());
}

#[test]
fn git_applies_a_patch() {
    let specs = [
        "f a=one\ntwo",
        "f b c=x\n",
        "l l=a",
        "f k=file\n",
        "f gone=1\n2\n",
        "f same=same\n",
    ];
    let env = images(&[
        &specs,
        &[
            "f a=one\n2\n",
            "f b c=y\n",
            "l l=b",
            "l k=a",
            "w gone",
            "f new=n\n",
            "f caf\u{e9}=\u{e9}\n",
        ],
    ]);
    env.write("p", env.umoci(["diff", "-p", "img:1", "img:2"]).ok());
    for tag in ["1", "2"] {
        env.umoci(["unpack", "--rootless", "--image", &format!("img:{tag}"), tag])
            .ok();
    }
    env.sh("cd 1/rootfs; git apply ../../p; diff -r --no-dereference . ../../2/rootfs");
}

#[test]
fn a_file_with_a_nul_is_binary() {
    let env = images_of(vec![
        Tar::new().any(b"b", b'0', b"a\0b", b""),
        Tar::new().any(b"b", b'0', b"a\0c", b""),
    ]);
    let (out, _) = run(&env, "diff -p img:1 img:2");
    assert!(out.ends_with("\nBinary files a/b and b/b differ\n"), "{out}");
}

#[test]
fn a_rename_is_found_by_the_content() {
    let env = images(&[
        &["f a/one=content", "f a/two=other", "f empty="],
        &[
            "w a/one",
            "w a/two",
            "w empty",
            "f b/x=content",
            "f b/one=content",
            "f b/2=other",
            "f b/empty=",
        ],
    ]);
    let (out, _) = run(&env, "diff -M img:1 img:2 a b empty");
    let files: Vec<&str> = out.lines().filter(|line| !line.ends_with("\tb")).collect();
    assert_eq!(
        files,
        [
            "R100\ta/two\tb/2",
            "A\tb/empty",
            "R100\ta/one\tb/one",
            "A\tb/x",
            "D\tempty"
        ]
    );
    let output = env.umoci(["diff", "-M", "-z", "img:1", "img:2", "a", "b/2"]).ok();
    assert_eq!(output.replace('\n', ""), "D\0a/one\0R100\0a/two\0b/2\0");
}

#[test]
fn configs_annotations_and_layers_are_compared() {
    let env = images(&[&["f a=1"], &["f a=2"]]);
    env.umoci([
        "config",
        "--image",
        "img:1",
        "--tag",
        "c",
        "--config.user",
        "u\u{202e}",
        "--manifest.annotation",
        "k=v",
        "--no-history",
    ])
    .ok();
    let (out, _) = run(&env, "diff --config img:1 img:c");
    assert_eq!(out, "A config.User \"u\\u{202e}\"\nA annotations.k \"v\"\n");
    let (out, _) = run(&env, "diff --layers img:1 img:2");
    let lines: Vec<(&str, &str)> = out
        .lines()
        .map(|line| (&line[..1], &line[line.len() - 6..]))
        .collect();
    assert_eq!(lines, [("=", "step 1"), ("+", "step 2")]);
    let (out, _) = run(&env, "diff --json --config img:1 img:c");
    assert_eq!(
        out.lines().next(),
        Some(r#"{"schema":1,"status":"A","config":"config.User","new":"u\u202e"}"#)
    );
}

#[test]
fn times_history_and_names_have_no_meaning() {
    let env = images(&[&["f a=1"]]);
    env.sh("touch -d @5 a; printf 1 >a; touch -d @7 a; tar --owner=0 --group=0 --mode=0644 -cf l.tar a");
    env.umoci([
        "raw",
        "add-layer",
        "--image",
        "img:0",
        "--tag",
        "later",
        "--history.created=2020-01-01T00:00:00Z",
        "l.tar",
    ])
    .ok();
    assert_eq!(run(&env, "diff img:1 img:later"), ("m\ta\n".to_owned(), 0));
    assert_eq!(
        run(&env, "diff --semantic --exit-code img:1 img:later"),
        (String::new(), 0)
    );
    assert_eq!(run(&env, "diff --exit-code --config img:1 img:later").1, 1);
}

#[test]
fn a_layer_is_compared_by_itself() {
    let env = images(&[&["f a=1", "f b=1"], &["f a=2", "w b", "o d"]]);
    let [lower, upper] = [1, 2].map(|number| layer_digest(&env, "img:2", number));
    let words = format!("diff layer:img@{lower} layer:img@{upper}");
    assert_eq!(run(&env, &words).0, "A\t.wh.b\nM\ta\nD\tb\nA\td/.wh..wh..opq\n");
}

#[test]
fn a_bundle_is_compared_as_a_repack_sees_it() {
    let specs = [
        "d d",
        "f d/a=one",
        "f d/b=two",
        "h d/c=d/b",
        "l d/l=a",
        "p d/p",
        "f same=same",
    ];
    let env = images(&[&specs]);
    for rootless in ["", "--rootless"] {
        env.sh("rm -rf b");
        let words = ["unpack", "--image", "img:1", rootless, "b"];
        env.umoci(words.into_iter().filter(|word| !word.is_empty())).ok();
        assert_eq!(
            run(&env, "diff --exit-code img:1 bundle:b"),
            (String::new(), 0),
            "{rootless}"
        );
        env.sh("cd b/rootfs; T=$(stat -c %Y d); printf uno >d/a; touch -d @0 d/a; rm d/l; echo x >n; mv same moved; touch -d @$T d");
        assert_eq!(
            run(&env, "diff -M --ignore mtime img:1 bundle:b").0,
            "M\td/a\nD\td/l\nR100\tsame\tmoved\nA\tn\n",
            "{rootless}"
        );
        let (out, _) = run(&env, "diff -p bundle:b img:1 d/a");
        assert!(
            out.ends_with("-uno\n\\ No newline at end of file\n+one\n\\ No newline at end of file\n"),
            "{out}"
        );
    }
}

/// Names that would drive a terminal, break a line, turn the text around it, or be markup.
const HOSTILE: [(&[u8], &str, &str); 5] = [
    (b"a\nb", r#""a\nb""#, r#""path":"a\nb""#),
    (b"\x1b[31m", r#""\033[31m""#, r#""path":"\u001b[31m""#),
    (
        "\u{202e}gnp".as_bytes(),
        r#""\342\200\256gnp""#,
        r#""path":"\u202egnp""#,
    ),
    (b"\xff", r#""\377""#, r#""path_b64":"/w==""#),
    (b"<script>", "<script>", r#""path":"<script>""#),
];

#[test]
fn hostile_names_are_quoted_and_told_byte_by_byte() {
    for (name, line, json) in HOSTILE {
        let env = images_of(vec![Tar::new(), Tar::new().any(name, b'0', b"x", b"")]);
        assert_eq!(run(&env, "diff img:1 img:2").0, format!("A\t{line}\n"));
        let (out, _) = run(&env, "diff --json img:1 img:2");
        assert!(
            out.starts_with(&format!(r#"{{"schema":1,"status":"A",{json},"new":{{"#)),
            "{out}"
        );
        let raw = [b"A\0", name, b"\0"].concat();
        env.write("want", &raw);
        env.sh(&format!(
            "{} diff -z img:1 img:2 | cmp - want",
            env!("CARGO_BIN_EXE_umoci")
        ));
        let (out, _) = run(&env, "log --name-only img:2");
        assert!(out.contains(&format!("\n{line}\n")), "{out}");
        let (out, _) = run(&env, "blame img:2 .");
        assert!(out.ends_with(&format!(" {line}\n")), "{out}");
    }
}

#[test]
fn a_layer_that_cannot_be_read_is_named() {
    let env = images(&[&["f a=1"], &["f b=2"]]);
    let digest = lose_layer(&env, "img:2", 2);
    for (words, want) in [
        ("diff img:1 img:2", ""),
        ("log --oneline img:2", "  2 "),
        ("blame img:2 a", "  1 "),
    ] {
        let output = env.umoci(words.split(' '));
        assert_eq!(output.code, Some(1), "{words}");
        assert!(output.stdout.starts_with(want), "{words}: {}", output.stdout);
        assert!(
            output
                .stderr
                .contains(&format!("the answer is without layer {digest}")),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn words_that_do_not_fit_are_refused() {
    let env = images(&[&["f a=1"]]);
    for (words, want) in [
        ("diff", "the old image"),
        ("diff img:1", "the new image"),
        ("diff img:1 layer:img:1", "want layer:<layout>@<digest>"),
        ("diff --ignore=color img:1 img:1", "\"color\" is no field"),
        ("diff --config img:1 bundle:none", "umoci.json"),
        ("log", "the image"),
        ("blame img:1 none", "has no none"),
        ("blame img:1", "the path"),
    ] {
        let why = env.umoci(words.split(' ')).fails();
        assert!(why.contains(want), "{words}: {why}");
    }
}
