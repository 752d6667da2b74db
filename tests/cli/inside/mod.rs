// SPDX-License-Identifier: Apache-2.0
//! Commands that look into images.

mod blame;
mod diff;
mod log;
mod report;
mod tables;

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

/// What a command prints, whose words have no spaces, and its exit code.
fn run(env: &Env, words: &str) -> (String, i32) {
    let output = env.umoci(words.split(' '));
    assert_eq!(output.stderr, "", "{words}");
    (output.stdout, output.code.expect("exit code"))
}
