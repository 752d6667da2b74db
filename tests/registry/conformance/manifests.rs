// SPDX-License-Identifier: Apache-2.0
//! Manifests of every kind, tags, referrers.

use super::{ROW, Row};

/// Documents that every registry has to take, and to give back to the byte.
const DOCUMENTS: &[&str] = &[
    "image",
    "image-with-data",
    "image-with-custom-fields",
    "image-with-foreign-layer",
    "image-without-layers",
    "image-of-4-MiB",
    "docker-image",
    "docker-list",
    "index",
    "empty-index",
    "nested-index",
    "artifact",
    "artifact-without-content",
    "artifact-index",
    "referrer",
    "referrer-by-config",
    "referrer-of-nothing",
    "index-referrer",
];
/// A manifest gets a tag.
const PUT_BY_TAG: (&str, &str) = (
    "PUT manifests/v1 | content-type: {type:{each}} < {each}",
    "201 | location: /v2/{repo}/manifests/{sha256:{each}} | docker-content-digest: {sha256:{each}}",
);
/// A referrer of `image` is put by its digest.
const PUT_REFERRER: (&str, &str) = (
    "PUT manifests/{sha256:{each}} | content-type: {type:{each}} < {each}",
    "201 | oci-subject: {sha256:image}",
);

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "a manifest that is put by tag",
        each: DOCUMENTS,
        given: &["below {each}"],
        steps: &[
            PUT_BY_TAG,
            (
                "GET manifests/v1 | accept: {type:{each}}",
                "200 | content-type: {type:{each}} | content-length: {size:{each}} | docker-content-digest: {sha256:{each}} > {each}",
            ),
            (
                "HEAD manifests/v1 | accept: {type:{each}}",
                "200 | content-type: {type:{each}} | content-length: {size:{each}} | docker-content-digest: {sha256:{each}} > nothing",
            ),
            (
                "GET manifests/{sha256:{each}} | accept: {type:{each}}",
                "200 | content-type: {type:{each}} > {each}",
            ),
            (
                "HEAD manifests/{sha256:{each}} | accept: {type:{each}}",
                "200 | content-length: {size:{each}} > nothing",
            ),
            ("GET tags/list", "200 | /tags = [\"v1\"] | /name = \"{repo}\""),
        ],
        debian: &[("image-with-foreign-layer", "PUT 500")],
        ..ROW
    },
    Row {
        name: "a manifest that is put by digest, and removed by it",
        each: DOCUMENTS,
        given: &["below {each}"],
        steps: &[
            (
                "PUT manifests/{sha256:{each}} | content-type: {type:{each}} < {each}",
                "201 | location: /v2/{repo}/manifests/{sha256:{each}} | docker-content-digest: {sha256:{each}}",
            ),
            (
                "GET manifests/{sha256:{each}} | accept: {type:{each}}",
                "200 | content-type: {type:{each}} > {each}",
            ),
            ("DELETE manifests/{sha256:{each}}", "202"),
            (
                "GET manifests/{sha256:{each}} | accept: {type:{each}}",
                "404 | MANIFEST_UNKNOWN",
            ),
            ("HEAD manifests/{sha256:{each}} | accept: {type:{each}}", "404"),
        ],
        debian: &[("image-with-foreign-layer", "PUT 500")],
        ..ROW
    },
    Row {
        name: "a manifest that is put by its digest of another algorithm",
        each: &["image", "index", "artifact"],
        given: &["below {each}"],
        steps: &[
            (
                "PUT manifests/{sha512:{each}} | content-type: {type:{each}} < {each}",
                "201 | location: /v2/{repo}/manifests/{sha512:{each}} | docker-content-digest: {sha512:{each}}",
            ),
            (
                "GET manifests/{sha512:{each}} | accept: {type:{each}}",
                "200 | docker-content-digest: {sha512:{each}} > {each}",
            ),
            ("DELETE manifests/{sha512:{each}}", "202"),
            ("GET manifests/{sha512:{each}} | accept: {type:{each}}", "404"),
        ],
        debian: &[("", "PUT 400")],
        ..ROW
    },
    Row {
        name: "a manifest that is put by its digest with tags (1.2)",
        each: &["sha256", "sha512"],
        given: &["below image"],
        steps: &[
            (
                "PUT manifests/{{each}:image}?tag=v1&tag=v2 | content-type: {type:image} < image",
                "201 | oci-tag: * | docker-content-digest: {{each}:image}",
            ),
            (
                "GET manifests/v2 | accept: {type:image}",
                "200 | docker-content-digest: {{each}:image} > image",
            ),
            ("GET tags/list", "200 | /tags = [\"v1\",\"v2\"]"),
        ],
        debian: &[("sha256", "PUT oci-tag: -, GET 404"), ("sha512", "PUT 400")],
        ..ROW
    },
    Row {
        name: "a tag that is removed leaves the manifest",
        given: &["below image"],
        steps: &[
            ("PUT manifests/v1 | content-type: {type:image} < image", "201"),
            ("PUT manifests/v2 | content-type: {type:image} < image", "201"),
            ("DELETE manifests/v1", "202"),
            (
                "GET manifests/v1 | accept: {type:image}",
                "404 | MANIFEST_UNKNOWN",
            ),
            (
                "GET manifests/{sha256:image} | accept: {type:image}",
                "200 > image",
            ),
            ("GET tags/list", "200 | /tags = [\"v2\"]"),
        ],
        debian: &[("", "DELETE 400")],
        ..ROW
    },
    Row {
        name: "a manifest that is removed takes its tags along",
        given: &["below image"],
        steps: &[
            ("PUT manifests/v1 | content-type: {type:image} < image", "201"),
            ("PUT manifests/v2 | content-type: {type:image} < image", "201"),
            ("DELETE manifests/{sha256:image}", "202"),
            (
                "GET manifests/v2 | accept: {type:image}",
                "404 | MANIFEST_UNKNOWN",
            ),
            ("GET tags/list", "200 | /tags = []"),
        ],
        debian: &[("", "GET /tags = null")],
        ..ROW
    },
    Row {
        name: "a tag that moves",
        given: &["image", "below arm"],
        steps: &[
            ("PUT manifests/v1 | content-type: {type:image} < image", "201"),
            ("PUT manifests/v1 | content-type: {type:arm} < arm", "201"),
            (
                "GET manifests/v1 | accept: {type:arm}",
                "200 | docker-content-digest: {sha256:arm} > arm",
            ),
            (
                "GET manifests/{sha256:image} | accept: {type:image}",
                "200 > image",
            ),
        ],
        ..ROW
    },
    Row {
        name: "a manifest that is not there",
        each: &["v1", "{sha256:index}"],
        given: &["image"],
        steps: &[
            ("GET manifests/{each}", "404 | MANIFEST_UNKNOWN"),
            ("HEAD manifests/{each}", "404"),
            ("DELETE manifests/{each}", "404 | MANIFEST_UNKNOWN"),
        ],
        debian: &[("v1", "DELETE 400")],
        ..ROW
    },
    Row {
        name: "a manifest that is put by the digest of other content",
        each: &["sha256", "sha512"],
        given: &["below image"],
        steps: &[
            (
                "PUT manifests/{{each}:arm} | content-type: {type:image} < image",
                "400 | DIGEST_INVALID",
            ),
            ("GET manifests/{{each}:arm} | accept: {type:image}", "404"),
            ("GET manifests/{sha256:image} | accept: {type:image}", "404"),
        ],
        ..ROW
    },
    Row {
        name: "a digest or tag that is none",
        each: &["sha256:0", "none:0", "-v1", "v1+", "sha256:", "%20"],
        given: &["below image"],
        steps: &[
            ("GET manifests/{each}", "400"),
            ("PUT manifests/{each} | content-type: {type:image} < image", "400"),
            ("DELETE manifests/{each}", "400"),
        ],
        debian: &[("sha256:0", "GET 500"), ("none:0", "GET 500"), ("", "GET 404")],
        ..ROW
    },
    Row {
        name: "a manifest whose blobs or manifests are not there",
        each: &["image-without-its-layer", "index-without-its-image"],
        given: &["below {each}"],
        steps: &[(
            "PUT manifests/v1 | content-type: {type:{each}} < {each}",
            "404 | MANIFEST_BLOB_UNKNOWN | /errors/0/detail/digest = \"{sha256:missing}\"",
        )],
        debian: &[("", "PUT 400")],
        ..ROW
    },
    Row {
        name: "a manifest that cannot be read",
        each: &["half-an-image", "nothing", "blob", "empty-object"],
        given: &["below image"],
        steps: &[(
            "PUT manifests/v1 | content-type: {type:image} < {each}",
            "400 | MANIFEST_INVALID",
        )],
        debian: &[("empty-object", "PUT 500")],
        ..ROW
    },
    Row {
        name: "a manifest under another media type",
        given: &["below image"],
        steps: &[(
            "PUT manifests/v1 | content-type: {type:index} < image",
            "400 | MANIFEST_INVALID",
        )],
        ..ROW
    },
    Row {
        name: "a manifest that is too large",
        steps: &[(
            "PUT manifests/v1 | content-type: {type:image} < too-large",
            "413 | SIZE_INVALID",
        )],
        debian: &[("", "PUT 400")],
        ..ROW
    },
    Row {
        name: "a list of tags, in pages",
        given: &["image"],
        steps: &[
            ("PUT manifests/b | content-type: {type:image} < image", "201"),
            ("PUT manifests/a | content-type: {type:image} < image", "201"),
            ("PUT manifests/C | content-type: {type:image} < image", "201"),
            (
                "GET tags/list",
                "200 | content-type: application/json | link: - | /tags = [\"C\",\"a\",\"b\"]",
            ),
            (
                "GET tags/list?n=2",
                "200 | link: </v2/{repo}/tags/list?n=2&last=a>; rel=\"next\" | /tags = [\"C\",\"a\"]",
            ),
            ("GET tags/list?n=2&last=a", "200 | link: - | /tags = [\"b\"]"),
            ("GET tags/list?last=aa", "200 | link: - | /tags = [\"b\"]"),
            ("GET tags/list?n=3", "200 | link: - | /tags = [\"C\",\"a\",\"b\"]"),
            ("GET tags/list?n=0", "200 | link: - | /tags = []"),
        ],
        debian: &[(
            "",
            "GET link: -, GET /tags = [\"C\",\"a\",\"b\"], GET /tags = [\"C\",\"a\",\"b\"], GET /tags = [\"C\",\"a\",\"b\"], GET /tags = [\"C\",\"a\",\"b\"]",
        )],
        ..ROW
    },
    Row {
        name: "referrers that are listed with what they say of themselves",
        each: &["referrer", "index-referrer"],
        given: &["below {each}"],
        steps: &[
            PUT_REFERRER,
            (
                "GET referrers/{sha256:image}",
                "200 | content-type: {type:index} | oci-filters-applied: - | /schemaVersion = 2 | /mediaType = \"{type:index}\" \
                 | /manifests/0/digest = \"{sha256:{each}}\" | /manifests/0/size = {size:{each}} | /manifests/0/mediaType = \"{type:{each}}\" \
                 | /manifests/1 = nothing",
            ),
            ("DELETE manifests/{sha256:{each}}", "202"),
            ("GET referrers/{sha256:image}", "200 | /manifests = []"),
        ],
        debian: &[("", "PUT oci-subject: -, GET 404")],
        ..ROW
    },
    Row {
        name: "referrers of a kind",
        given: &["referrer", "other-referrer", "referrer-by-config"],
        steps: &[
            (
                "GET referrers/{sha256:image}?artifactType=text/b",
                "200 | oci-filters-applied: artifactType | /manifests/0/digest = \"{sha256:other-referrer}\" | /manifests/1 = nothing \
                 | /manifests/0/artifactType = \"text/b\" | /manifests/0/annotations = {\"of\":\"text/b\"}",
            ),
            (
                "GET referrers/{sha256:image}?artifactType=text%2Fa%2Bx",
                "200 | oci-filters-applied: artifactType | /manifests/0/digest = \"{sha256:referrer}\" | /manifests/1 = nothing",
            ),
            // The kind of its config stands for its own.
            (
                "GET referrers/{sha256:image}?artifactType=text/config",
                "200 | /manifests/0/digest = \"{sha256:referrer-by-config}\" | /manifests/0/artifactType = \"text/config\"",
            ),
            (
                "GET referrers/{sha256:image}?artifactType=none",
                "200 | oci-filters-applied: artifactType | /manifests = []",
            ),
        ],
        debian: &[("", "GET 404")],
        ..ROW
    },
    Row {
        name: "a referrer of what is not there",
        given: &["below referrer-of-nothing"],
        steps: &[
            (
                "PUT manifests/{sha256:referrer-of-nothing} | content-type: {type:image} < referrer-of-nothing",
                "201 | oci-subject: {sha256:missing}",
            ),
            (
                "GET referrers/{sha256:missing}",
                "200 | /manifests/0/digest = \"{sha256:referrer-of-nothing}\"",
            ),
        ],
        debian: &[("", "PUT oci-subject: -, GET 404")],
        ..ROW
    },
    Row {
        name: "a manifest without a subject",
        given: &["below image"],
        steps: &[
            (
                "PUT manifests/v1 | content-type: {type:image} < image",
                "201 | oci-subject: -",
            ),
            (
                "GET referrers/{sha256:image}",
                "200 | content-type: {type:index} | /manifests = []",
            ),
        ],
        debian: &[("", "GET 404")],
        ..ROW
    },
    Row {
        name: "a fallback tag that a client has written counts",
        given: &["image", "artifact-index"],
        steps: &[
            (
                "PUT manifests/{fallback:image} | content-type: {type:index} < artifact-index",
                "201",
            ),
            (
                "GET referrers/{sha256:image}",
                "200 | /manifests/0/digest = \"{sha256:artifact}\"",
            ),
        ],
        debian: &[("", "GET 404")],
        ..ROW
    },
    Row {
        name: "referrers of a digest that is none",
        each: &["sha256:0", "none:0", "v1"],
        given: &["image"],
        steps: &[("GET referrers/{each}", "400")],
        debian: &[("", "GET 404")],
        ..ROW
    },
];
