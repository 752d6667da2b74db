// SPDX-License-Identifier: Apache-2.0
//! Blobs: uploads in every way, reads whole and in part, mounts, removals.

use super::{ROW, Row};

/// Algorithms that every row about an upload is run with.
const ALGORITHMS: &[&str] = &["sha256", "sha512"];
/// How an upload begins.
const BEGIN: (&str, &str) = ("POST blobs/uploads/", "202 | location: *");
/// The blob is there.
const THERE: (&str, &str) = (
    "GET blobs/{{each}:blob}",
    "200 | content-length: 1000 | docker-content-digest: {{each}:blob} > blob",
);
/// The blob is not there.
const ABSENT: (&str, &str) = ("GET blobs/{{each}:blob}", "404 | BLOB_UNKNOWN");
/// The upload has ended.
const ENDED: (&str, &str) = ("GET {location}", "404 | BLOB_UPLOAD_UNKNOWN");
/// An upload ends without further bytes.
const END: (&str, &str) = (
    "PUT {location}?digest={{each}:blob}",
    "201 | location: /v2/{repo}/blobs/{{each}:blob} | docker-content-digest: {{each}:blob}",
);
/// The first chunk.
const FIRST: (&str, &str) = (
    "PATCH {location} | content-range: 0-99 | content-type: application/octet-stream < blob[0..100]",
    "202 | range: 0-99 | location: *",
);

/// Debian's registry calls every blob by its SHA-256 in its answers.
const BY_SHA256: &str = "PUT location: /v2/{repo}/blobs/{sha256:blob}, PUT docker-content-digest: {sha256:blob}, \
GET docker-content-digest: {sha256:blob}";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "the ping",
        steps: &[(
            "GET /v2/",
            "200 | docker-distribution-api-version: registry/2.0 | content-type: application/json",
        )],
        ..ROW
    },
    Row {
        name: "a repository that is not there",
        steps: &[
            ("GET tags/list", "404 | NAME_UNKNOWN"),
            ("GET manifests/latest", "404 | MANIFEST_UNKNOWN"),
            ("GET manifests/{sha256:image}", "404 | MANIFEST_UNKNOWN"),
            ("GET blobs/{sha256:blob}", "404 | BLOB_UNKNOWN"),
            ("GET referrers/{sha256:image}", "200 | /manifests = []"),
        ],
        debian: &[("", "GET 404")],
        ..ROW
    },
    Row {
        name: "one POST with the content",
        each: ALGORITHMS,
        steps: &[
            (
                "POST blobs/uploads/?digest={{each}:blob} < blob",
                "201 | location: /v2/{repo}/blobs/{{each}:blob}",
            ),
            THERE,
        ],
        debian: &[("", "POST 202")],
        ..ROW
    },
    Row {
        name: "POST, and PUT with the content",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            ("PUT {location}?digest={{each}:blob} < blob", END.1),
            THERE,
        ],
        debian: &[("sha512", BY_SHA256)],
        ..ROW
    },
    Row {
        name: "a blob without content",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            ("PUT {location}?digest={{each}:nothing}", "201"),
            ("GET blobs/{{each}:nothing}", "200 | content-length: 0 > nothing"),
        ],
        ..ROW
    },
    Row {
        name: "a stream",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            (
                "PATCH {location} | transfer-encoding: chunked | content-type: application/octet-stream < blob",
                "202 | range: 0-999 | location: *",
            ),
            END,
            THERE,
        ],
        debian: &[("sha512", BY_SHA256)],
        ..ROW
    },
    Row {
        name: "one chunk",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            (
                "PATCH {location} | content-range: 0-999 < blob",
                "202 | range: 0-999 | location: *",
            ),
            ("GET {location}", "204 | range: 0-999 | location: *"),
            END,
            THERE,
        ],
        debian: &[("sha512", BY_SHA256)],
        ..ROW
    },
    Row {
        name: "several chunks, the last with the PUT",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            FIRST,
            (
                "PATCH {location} | content-range: 100-499 < blob[100..500]",
                "202 | range: 0-499",
            ),
            (
                "PUT {location}?digest={{each}:blob} | content-range: 500-999 < blob[500..]",
                END.1,
            ),
            THERE,
        ],
        debian: &[("sha512", BY_SHA256)],
        ..ROW
    },
    Row {
        name: "several chunks, and a PUT without one",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            FIRST,
            (
                "PATCH {location} | content-range: 100-999 < blob[100..]",
                "202 | range: 0-999",
            ),
            END,
            THERE,
        ],
        debian: &[("sha512", BY_SHA256)],
        ..ROW
    },
    Row {
        name: "a chunk in the wrong place, after which the upload goes on",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            FIRST,
            (
                "PATCH {location} | content-range: 200-299 < blob[200..300]",
                "416",
            ),
            ("GET {location}", "204 | range: 0-99 | location: *"),
            (
                "PATCH {location} | content-range: 100-999 < blob[100..]",
                "202 | range: 0-999",
            ),
            END,
            THERE,
        ],
        debian: &[("", "PATCH 202")],
        ..ROW
    },
    Row {
        name: "a first chunk that is none",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            (
                "PATCH {location} | content-range: 100-199 < blob[100..200]",
                "416",
            ),
            ("PUT {location}?digest={{each}:blob} < blob", "201"),
            THERE,
        ],
        debian: &[("", "PATCH 202")],
        ..ROW
    },
    Row {
        name: "a POST with the digest of other content",
        each: ALGORITHMS,
        steps: &[
            (
                "POST blobs/uploads/?digest={{each}:blob} < other",
                "400 | DIGEST_INVALID",
            ),
            ABSENT,
        ],
        debian: &[("", "POST 202")],
        ..ROW
    },
    Row {
        name: "a PUT with the digest of other content",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            (
                "PUT {location}?digest={{each}:blob} < other",
                "400 | DIGEST_INVALID",
            ),
            ABSENT,
        ],
        ..ROW
    },
    Row {
        name: "a stream with the digest of other content",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            ("PATCH {location} | transfer-encoding: chunked < other", "202"),
            ("PUT {location}?digest={{each}:blob}", "400 | DIGEST_INVALID"),
            ABSENT,
        ],
        ..ROW
    },
    Row {
        name: "chunks with the digest of other content",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            FIRST,
            (
                "PUT {location}?digest={{each}:blob} | content-range: 100-104 < other",
                "400 | DIGEST_INVALID",
            ),
            ABSENT,
        ],
        ..ROW
    },
    Row {
        name: "a digest that is none, with a PUT",
        each: &[
            "",
            "sha256:",
            "sha256:0",
            "sha256-0",
            "none:0",
            "sha256:../../../../../../../../../etc/passwd",
        ],
        steps: &[
            BEGIN,
            ("PUT {location}?digest={each} < blob", "400 | DIGEST_INVALID"),
        ],
        ..ROW
    },
    Row {
        name: "a PUT without a digest",
        steps: &[BEGIN, ("PUT {location} < blob", "400 | DIGEST_INVALID")],
        ..ROW
    },
    Row {
        name: "an upload that has ended",
        steps: &[
            BEGIN,
            FIRST,
            ("GET {location}", "204 | range: 0-99 | location: *"),
            ("DELETE {location}", "204"),
            ENDED,
            ("PATCH {location} < blob", "404 | BLOB_UPLOAD_UNKNOWN"),
            (
                "PUT {location}?digest={sha256:blob} < blob",
                "404 | BLOB_UPLOAD_UNKNOWN",
            ),
        ],
        ..ROW
    },
    Row {
        name: "an upload of another algorithm that is told at its beginning (1.2)",
        each: &["sha512"],
        steps: &[
            ("POST blobs/uploads/?digest-algorithm={each}", "202 | location: *"),
            ("PUT {location}?digest={{each}:blob} < blob", "201"),
            THERE,
        ],
        debian: &[("", "GET docker-content-digest: {sha256:blob}")],
        ..ROW
    },
    Row {
        name: "an algorithm that nobody knows (1.2)",
        steps: &[("POST blobs/uploads/?digest-algorithm=none", "400")],
        debian: &[("", "POST 202")],
        ..ROW
    },
    Row {
        name: "a mount",
        each: ALGORITHMS,
        steps: &[
            ("POST /v2/{repo}/from/blobs/uploads/", "202 | location: *"),
            ("PUT {location}?digest={{each}:blob} < blob", "201"),
            (
                "POST blobs/uploads/?mount={{each}:blob}&from={repo}/from",
                "201 | location: /v2/{repo}/blobs/{{each}:blob}",
            ),
            THERE,
        ],
        debian: &[("sha512", "GET 404")],
        ..ROW
    },
    Row {
        name: "a mount from anywhere",
        each: ALGORITHMS,
        steps: &[
            ("POST /v2/{repo}/from/blobs/uploads/", "202 | location: *"),
            ("PUT {location}?digest={{each}:blob} < blob", "201"),
            (
                "POST blobs/uploads/?mount={{each}:blob}",
                "201 | location: /v2/{repo}/blobs/{{each}:blob}",
            ),
            THERE,
        ],
        debian: &[("", "POST 202")],
        ..ROW
    },
    Row {
        name: "a mount of nothing begins an upload",
        each: ALGORITHMS,
        steps: &[
            (
                "POST blobs/uploads/?mount={{each}:blob}&from={repo}/none",
                "202 | location: *",
            ),
            ("PUT {location}?digest={{each}:blob} < blob", "201"),
            THERE,
        ],
        debian: &[("sha512", "GET docker-content-digest: {sha256:blob}")],
        ..ROW
    },
    Row {
        name: "the head of a blob",
        given: &["blob"],
        steps: &[
            (
                "HEAD blobs/{sha256:blob}",
                "200 | content-length: 1000 | docker-content-digest: {sha256:blob} | accept-ranges: bytes > nothing",
            ),
            ("HEAD blobs/{sha256:other}", "404 > nothing"),
        ],
        ..ROW
    },
    Row {
        name: "a part of a blob",
        given: &["blob"],
        steps: &[
            (
                "GET blobs/{sha256:blob} | range: bytes=0-4",
                "206 | content-range: bytes 0-4/1000 | content-length: 5 > blob[0..5]",
            ),
            (
                "GET blobs/{sha256:blob} | range: bytes=10-10",
                "206 | content-range: bytes 10-10/1000 > blob[10..11]",
            ),
            (
                "GET blobs/{sha256:blob} | range: bytes=990-",
                "206 | content-range: bytes 990-999/1000 > blob[990..]",
            ),
            (
                "GET blobs/{sha256:blob} | range: bytes=-10",
                "206 | content-range: bytes 990-999/1000 > blob[990..]",
            ),
            (
                "GET blobs/{sha256:blob} | range: bytes=990-2000",
                "206 | content-range: bytes 990-999/1000 > blob[990..]",
            ),
            ("GET blobs/{sha256:blob} | range: bytes=1000-2000", "416"),
        ],
        ..ROW
    },
    Row {
        name: "a blob that is removed",
        each: ALGORITHMS,
        steps: &[
            BEGIN,
            ("PUT {location}?digest={{each}:blob} < blob", "201"),
            ("DELETE blobs/{{each}:blob}", "202"),
            ABSENT,
            ("HEAD blobs/{{each}:blob}", "404"),
            ("DELETE blobs/{{each}:blob}", "404 | BLOB_UNKNOWN"),
        ],
        ..ROW
    },
    Row {
        name: "a digest that is none, in a path",
        each: &["sha256:0", "sha256-0", "none:0"],
        given: &["blob"],
        steps: &[
            ("GET blobs/{each}", "400 | DIGEST_INVALID"),
            ("DELETE blobs/{each}", "400 | DIGEST_INVALID"),
        ],
        debian: &[("sha256-0", "GET 404")],
        ..ROW
    },
];
