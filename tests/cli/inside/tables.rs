// SPDX-License-Identifier: Apache-2.0
//! Tables of contents: made by each pass over a whole layer, dropped with their layers, and never needed.

use std::collections::BTreeMap;

use crate::support::{Env, Image};

/// Runs a script in which `umoci` is the program of this tree.
fn sh(env: &Env, script: &str) {
    env.sh(&format!(
        "umoci() {{ {} \"$@\"; }}; {script}",
        env!("CARGO_BIN_EXE_umoci")
    ));
}

/// The files of all tables of a layout.
fn tables(env: &Env) -> BTreeMap<String, Vec<u8>> {
    let dir = env.path("img/.umoci/toc");
    let Ok(entries) = std::fs::read_dir(dir) else {
        return BTreeMap::new();
    };
    let entries = entries.map(|entry| entry.expect("entry"));
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().expect("name");
        (name, std::fs::read(entry.path()).expect("table"))
    };
    entries.map(read).collect()
}

#[test]
fn each_pass_over_a_layer_leaves_the_same_table() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir tree; echo one >tree/one; ln tree/one tree/two; head -c 300000 /dev/urandom >tree/large");
    env.sh("tar -C tree -czf tree.tar.gz . && tar -C tree -cf tree.tar . && truncate -s 1M tree/sparse && tar -C tree -Scf sparse.tar .");
    sh(
        env,
        "umoci init --layout other; umoci new --image other --from tree",
    );
    for (what, script) in [
        ("unpack", "umoci unpack --rootless --image img b"),
        ("repack", "echo x >b/rootfs/x; umoci repack --image img b"),
        ("insert", "umoci insert --rootless --image img tree /tree"),
        ("squash", "umoci squash img"),
        ("new", "umoci new --image img:new --from tree"),
        ("a plain archive", "umoci raw add-layer --image img:new tree.tar"),
        (
            "a compressed archive",
            "umoci raw add-layer --image img:new tree.tar.gz",
        ),
        (
            "an archive of sparse files",
            "umoci raw add-layer --image img:new sparse.tar",
        ),
    ] {
        env.sh("rm -rf img/.umoci/toc");
        sh(env, script);
        let made = tables(env);
        assert!(!made.is_empty(), "{what}");
        // A question that finds no table makes the same.
        let ask = "for tag in $(umoci list --layout img); do umoci ls-files img:$tag; done";
        sh(env, &format!("rm -r img/.umoci/toc; {ask}"));
        let read = tables(env);
        for (name, table) in made {
            assert!(read[&name] == table, "{what}: {name}");
        }
    }
}

#[test]
fn a_layer_of_our_own_has_checkpoints_before_it_is_read() {
    let image = Image::new();
    let env = &image.env;
    // Text that hardly compresses: checkpoints may have 1 % of the layer.
    env.sh("head -c 12000000 /dev/urandom | base64 -w 0 >large");
    env.umoci([
        "insert",
        "--rootless",
        "--compress",
        "gzip",
        "--image",
        "img",
        "large",
        "/large",
    ])
    .ok();
    let spans = env.sh("ls img/.umoci/spans");
    let top = image.manifest()["layers"]
        .as_array()
        .expect("layers")
        .last()
        .expect("layer")["digest"]
        .clone();
    assert_eq!(spans.trim(), top.as_str().expect("digest").replace(':', "-"));
    let noted = std::fs::read(env.path(format!("img/.umoci/spans/{}", spans.trim()))).expect("checkpoints");
    assert!(!noted.is_empty());
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    env.sh("cmp large b/rootfs/large; rm -r img/.umoci/spans b");
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    env.sh("cmp large b/rootfs/large");
    assert_eq!(env.sh("ls img/.umoci/spans"), spans, "those that a reader notes");
    env.umoci(["cat", "img", "large"]).ok();
}

#[test]
fn an_unpack_makes_a_table_that_is_cut_anew() {
    let image = Image::new();
    let env = &image.env;
    let good = tables(env);
    env.sh("for f in img/.umoci/toc/*; do : >\"$f\"; done");
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    assert_eq!(tables(env), good);
}

#[test]
fn an_import_makes_the_tables_at_once_if_asked() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["init", "--layout", "into"]).ok();
    env.umoci(["import", "--layout", "into", "--tag", "one", "img:latest"])
        .ok();
    assert!(!env.path("into/.umoci/toc").exists());
    env.umoci([
        "import",
        "--layout",
        "into",
        "--toc",
        "--tag",
        "two",
        "img:latest",
    ])
    .ok();
    env.umoci(["ls-files", "img"]).ok();
    env.sh("diff -r img/.umoci/toc into/.umoci/toc");
}

#[test]
fn a_table_goes_with_its_last_layer() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["ls-files", "img"]).ok();
    sh(
        env,
        "echo more >more; umoci insert --rootless --image img --tag more more /more",
    );
    let both = tables(env);
    sh(env, "umoci gc --layout img");
    assert_eq!(tables(env), both, "nothing is garbage");
    sh(env, "umoci rm --image img:more; umoci gc --layout img");
    let left = tables(env);
    assert!(left.len() < both.len() && !left.is_empty());
    assert!(left.iter().all(|(name, table)| both.get(name) == Some(table)));
}

#[test]
fn a_table_that_is_cut_altered_or_foreign_is_made_anew() {
    let image = Image::new();
    let env = &image.env;
    let want = env.umoci(["ls-files", "-l", "img"]).ok();
    let good = tables(env);
    for (what, script) in [
        ("cut", "truncate -s 300 \"$f\""),
        ("empty", ": >\"$f\""),
        (
            "altered",
            "printf x | dd of=\"$f\" bs=1 seek=400 conv=notrunc status=none",
        ),
        ("of another layer", "sed 's/sha256:..../sha256:0000/' -i \"$f\""),
        ("a directory", "rm \"$f\"; mkdir \"$f\""),
        ("a link", "mv \"$f\" elsewhere; ln -s \"$PWD/elsewhere\" \"$f\""),
    ] {
        env.sh(&format!("for f in img/.umoci/toc/*; do {script}; done"));
        assert_eq!(env.umoci(["ls-files", "-l", "img"]).ok(), want, "{what}");
        env.sh("rm -rf img/.umoci/toc");
        env.umoci(["ls-files", "img"]).ok();
        assert_eq!(tables(env), good, "{what}");
    }
}

#[test]
fn a_layout_that_cannot_be_written_gives_the_same_answer() {
    let image = Image::new();
    let env = &image.env;
    let want = env.umoci(["ls-files", "img"]).ok();
    env.sh("rm -r img/.umoci; chmod -R a-w img");
    assert_eq!(env.umoci(["ls-files", "img"]).ok(), want);
    env.sh("chmod -R u+w img");
}

#[test]
fn a_collection_bounds_the_tables_and_drops_the_least_used() {
    let image = Image::new();
    let env = &image.env;
    sh(
        env,
        "echo more >more; umoci insert --rootless --image img --tag more more /more",
    );
    env.sh("for f in img/.umoci/toc/*; do touch -d 2020-01-01 \"$f\"; done");
    // The image without the new layer: a question that leaves the table of that one alone.
    sh(
        env,
        "umoci ls-files img; umoci settings --layout img toc.max 2KiB; umoci gc --layout img",
    );
    let used = tables(env);
    let sizes: usize = used.values().map(Vec::len).sum();
    assert!(!used.is_empty() && sizes <= 2048, "{sizes} bytes");
    sh(
        env,
        "umoci settings --layout img --toc-max 0; umoci gc --layout img",
    );
    assert!(tables(env).is_empty());
    env.umoci(["ls-files", "img"]).ok();
}
