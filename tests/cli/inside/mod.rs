// SPDX-License-Identifier: Apache-2.0
//! Commands that look into images.

mod blame;
mod cat;
mod check_image;
mod diff;
mod find;
mod grep;
mod log;
mod ls_files;
mod report;
mod status;
mod tables;
mod view;
mod waste;
mod which;

use crate::support::{Env, Tar};

/// A room with `img:1`, `img:2` and so on, each the image before it with one more layer.
fn images(layers: &[&[&str]]) -> Env {
    let tars: Vec<Tar> = layers.iter().map(|specs| Tar::new().list(specs)).collect();
    images_of(tars)
}

/// As [`images`], of archives; `created_by` of each layer is `step N`.
fn images_of(layers: Vec<Tar>) -> Env {
    let env = Env::new().var("SOURCE_DATE_EPOCH", "1700000000");
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img:0"]).ok();
    for (number, tar) in (1..).zip(layers) {
        env.write("layer.tar", tar.end());
        let (base, tag) = (format!("img:{}", number - 1), number.to_string());
        let step = format!("--history.created_by=step {number}");
        env.umoci([
            "raw",
            "add-layer",
            "--image",
            &base,
            "--tag",
            &tag,
            &step,
            "layer.tar",
        ])
        .ok();
    }
    env
}

/// Output of a command, whose words have no spaces, and its exit code.
fn run(env: &Env, words: &str) -> (String, i32) {
    let output = env.umoci(words.split(' '));
    assert_eq!(output.stderr, "", "{words}");
    (output.stdout, output.code.expect("exit code"))
}

/// Digest of a layer of an image, the lowest is 1.
fn layer_digest(env: &Env, image: &str, number: usize) -> String {
    let layers = env.umoci(["layer", "list", image, "--json"]).ok();
    let layers: serde_json::Value = serde_json::from_str(&layers).expect("JSON");
    let digest = &layers[number - 1]["descriptor"]["digest"];
    digest.as_str().expect("digest").to_owned()
}

/// Removes the blob of a layer of `img`, and all tables of contents; returns its digest.
fn lose_layer(env: &Env, image: &str, number: usize) -> String {
    let digest = layer_digest(env, image, number);
    let blob = format!("img/blobs/sha256/{}", &digest[7..]);
    env.sh(&format!("rm -rf img/.umoci/toc; rm {blob}"));
    digest
}

/// A room with the image `img:TAG` of these layers, each in the words of [`Tar::list`].
fn add_image(env: &Env, tag: &str, layers: &[&[&str]]) {
    if !env.path("img").exists() {
        env.umoci(["init", "--layout", "img"]).ok();
    }
    let image = format!("img:{tag}");
    env.umoci(["new", "--image", &image]).ok();
    for layer in layers {
        env.write("layer.tar", Tar::new().list(layer).end());
        env.umoci(["raw", "add-layer", "--image", &image, "layer.tar"])
            .ok();
    }
}

/// A room with `img:latest` of these layers.
fn image(layers: &[&[&str]]) -> Env {
    let env = Env::new();
    add_image(&env, "latest", layers);
    env
}

/// Three layers with replacements, removals of both kinds, links, and names that are hostile to lines.
fn sample() -> Env {
    image(&[
        &[
            "d etc",
            "f etc/passwd=root:x:0:0::/root:/bin/sh\n",
            "f etc/old=old",
            "d opt",
            "f opt/a=a",
            "f opt/b=b",
        ],
        &[
            "f etc/passwd=root:x:0:0::/root:/bin/bash\n",
            "w etc/old",
            "o opt",
            "f opt/c=c\n",
        ],
        &[
            "l link=etc/passwd",
            "h etc/hard=etc/passwd",
            "f a\nb=new\nline\n",
            "f a\"b,c=q",
            "f \u{202e}txt=bidi",
            "d usr",
            "d usr/lib",
            "f usr/lib/x.so=\0bin",
        ],
    ])
}
