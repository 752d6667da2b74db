// SPDX-License-Identifier: Apache-2.0
//! `umoci cat`: contents to stdout, and trees below a directory.

use super::{image, layer_digest, sample};

#[test]
fn files_follow_one_another() {
    let env = sample();
    let want = "c\nroot:x:0:0::/root:/bin/bash\n";
    for words in [
        &["cat", "img", "opt/c", "link"][..],
        &["cat", "img", "opt/c", "etc/hard"],
        &["show", "img:latest", "opt/*", "/etc/passwd"],
    ] {
        assert_eq!(env.umoci(words).ok(), want, "{words:?}");
    }
    for word in ["img:latest:opt/c", "img:opt/c"] {
        assert_eq!(env.umoci(["show", word]).ok(), "c\n", "{word}");
    }
    assert_eq!(
        env.umoci(["cat", "img", "link", "--raw-link"]).ok(),
        "etc/passwd\n"
    );
    let message = env.umoci(["cat", "img", "opt/a"]).fails();
    assert!(message.contains("img has no opt/a"), "{message}");
    let message = env.umoci(["cat", "img"]).fails();
    assert!(
        message.contains("missing mandatory argument: the path"),
        "{message}"
    );
}

#[test]
fn a_directory_is_a_tar() {
    let env = sample();
    let program = env!("CARGO_BIN_EXE_umoci");
    let listed = env.sh(&format!("{program} cat img etc usr | tar -t | sort"));
    assert_eq!(
        listed,
        "etc/\netc/hard\netc/passwd\nusr/\nusr/lib/\nusr/lib/x.so\n"
    );
    let all = env.sh(&format!("{program} cat img . >all.tar; mkdir t; tar -C t -xf all.tar; find t -mindepth 1 -printf '%P\\0' | sort -z"));
    let files = env.umoci(["ls-files", "-z", "img"]).ok();
    assert_eq!(all.split('\0').count(), files.split('\0').count());
    assert_eq!(
        env.sh(&format!("{program} cat img . | head -c 1 | wc -c")).trim(),
        "1"
    );
}

#[test]
fn trees_are_written_below_a_directory() {
    let env = sample();
    env.umoci(["cat", "img", "-o", "out", "etc", "link", "usr/lib/x.so"])
        .ok();
    let found = env.sh("cd out; find . -mindepth 1 | sort; cat etc/passwd; stat -c %h etc/hard");
    let want = "./etc\n./etc/hard\n./etc/passwd\n./usr\n./usr/lib\n./usr/lib/x.so\n";
    assert_eq!(found, format!("{want}root:x:0:0::/root:/bin/bash\n2\n"));
    // A second run replaces what is there.
    env.sh("echo other >out/etc/passwd");
    env.umoci(["cat", "img", "-o", "out", "etc"]).ok();
    assert!(env.read("out/etc/passwd").contains("bash"));
    env.umoci(["cat", "img", "-o", "links", "link", "--raw-link"])
        .ok();
    assert_eq!(env.sh("readlink links/link"), "etc/passwd\n");
}

#[test]
fn links_lead_nowhere_out_of_the_directory() {
    let env = image(&[
        &["l out=/", "l up=../../..", "d d", "f d/x=1"],
        &["l d/abs=/tmp", "f up/evil=evil", "f out/evil2=evil"],
    ]);
    env.sh("mkdir -p a/b; ln -s ../.. a/b/d");
    env.umoci(["cat", "img", "-o", "a/b", "."]).ok();
    // A link of the host in the place of a directory leads nowhere else either.
    assert_eq!(
        env.sh("find . -name x -o -name 'evil*' | sort; ls"),
        env.sh("find a/b -name x -o -name 'evil*' | sed 's,^,./,' | sort; ls")
    );
}

#[test]
fn damage_is_told_and_never_printed_as_good() {
    let env = sample();
    env.umoci(["ls-files", "img"]).ok();
    let digest = layer_digest(&env, "img", 3);
    env.sh(&format!(
        "f=img/blobs/sha256/{}; chmod u+w $f; printf xyz | dd of=$f bs=1 seek=40 conv=notrunc status=none",
        &digest[7..]
    ));
    for words in ["usr/lib/x.so", "usr -o out", "usr"] {
        let program = env!("CARGO_BIN_EXE_umoci");
        let message = env.sh(&format!("! {program} cat img {words} 2>&1 >printed"));
        assert!(message.contains(&digest), "{words:?}: {message}");
    }
    assert_eq!(env.umoci(["cat", "img", "opt/c"]).ok(), "c\n");
}
