// SPDX-License-Identifier: Apache-2.0
//! `umoci new`

use crate::support::{Env, Image};

#[test]
fn an_existing_tag_is_replaced_by_a_blank_image() {
    let image = Image::new();
    image.env.umoci(["new", "--image", "img"]).ok();
    assert_eq!(image.env.umoci(["ls", "--layout", "img"]).ok(), "latest\n");
    assert_eq!(image.manifest()["layers"], serde_json::json!([]));
    assert!(image.config()["history"].is_null());
}

#[test]
fn the_layout_must_exist_and_the_time_be_one() {
    let env = Env::new();
    let why = env.umoci(["new", "--image", "none"]).fails();
    assert_eq!(
        why,
        "open CAS: validate: read oci-layout: none/oci-layout does not exist: invalid image detected"
    );
    assert_eq!(env.umoci(["new"]).fails(), "missing mandatory argument: --image");
    assert_eq!(
        env.umoci(["new", "--image", "x", "y"]).fails(),
        "invalid number of positional arguments: expected none"
    );
    let env = env.var("SOURCE_DATE_EPOCH", "yesterday");
    env.umoci(["init", "--layout", "img"]).ok();
    let why = env.umoci(["new", "--image", "img"]).fails();
    assert_eq!(
        why,
        "parse SOURCE_DATE_EPOCH=\"yesterday\": not a whole number of seconds"
    );
}
