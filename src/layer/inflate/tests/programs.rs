// SPDX-License-Identifier: Apache-2.0
//! gzips of other programs.

use std::process::Command;

use super::{check_points, layer_text, record};

/// Programs that compress the file `$1` to their output, and the Debian package of each.
const PROGRAMS: [(&str, &str); 11] = [
    ("gzip", "gzip -1 -c \"$1\""),
    ("gzip", "gzip -6 -c \"$1\""),
    ("gzip", "gzip -9 -c \"$1\""),
    ("pigz", "pigz -c -p 4 \"$1\""),
    ("pigz", "pigz -c -p 4 -i -b 512 \"$1\""),
    ("pigz", "pigz -c -p 4 -1 \"$1\""),
    ("zopfli", "zopfli -c --i1 \"$1\""),
    (
        "python3",
        "python3 -c 'import gzip,sys; sys.stdout.buffer.write(gzip.compress(open(sys.argv[1],\"rb\").read(),1))' \"$1\"",
    ),
    (
        "python3",
        "python3 -c 'import gzip,sys; sys.stdout.buffer.write(gzip.compress(open(sys.argv[1],\"rb\").read(),6))' \"$1\"",
    ),
    (
        "python3",
        "python3 -c 'import gzip,sys; sys.stdout.buffer.write(gzip.compress(open(sys.argv[1],\"rb\").read(),9))' \"$1\"",
    ),
    (
        "umoci",
        "set -e; l=\"$1.layout\"; r=\"$1.root\"; rm -rf \"$l\" \"$r\"; mkdir \"$r\"; cp \"$1\" \"$r/file\"; \
         u=/usr/bin/umoci; $u init --layout \"$l\"; $u new --image \"$l:a\"; \
         $u insert --rootless --image \"$l:a\" \"$r\" / >&2; ls -S \"$l\"/blobs/sha256/* | head -n 1 | xargs cat",
    ),
];

fn install(package: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/install.sh");
    let status = Command::new(script).arg(package).status().expect("install.sh");
    assert!(status.success(), "{package} is not installed");
}

#[test]
#[ignore = "needs other programs"]
fn gzips_of_other_programs_are_read_at_every_place() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("text");
    // zopfli takes seconds for a mebibyte.
    for (package, command) in PROGRAMS {
        install(package);
        let size = if package == "zopfli" { 9 << 20 } else { 20 << 20 };
        std::fs::write(&file, layer_text(size)).expect("write");
        let out = Command::new("sh")
            .args(["-c", command, "sh"])
            .arg(&file)
            .output()
            .expect("sh");
        assert!(
            out.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let mut text = Vec::new();
        let mut plain = flate2::read::MultiGzDecoder::new(out.stdout.as_slice());
        std::io::Read::read_to_end(&mut plain, &mut text).expect(command);
        let points = record(&out.stdout, &text).expect(command);
        check_points(command, &out.stdout, &text, points, 1000);
    }
}
