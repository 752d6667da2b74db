// SPDX-License-Identifier: Apache-2.0
//! `umoci remove`

use crate::support::Image;

#[test]
fn removing_what_is_not_there_is_no_error_for_rm() {
    let image = Image::new();
    image.env.umoci(["rm", "--image", "img:nope"]).ok();
    image.env.umoci(["remove", "--image", "img"]).ok();
    assert_eq!(image.env.umoci(["ls", "--layout", "img"]).ok(), "");
}
