// SPDX-License-Identifier: Apache-2.0
//! How several odd things taken together are read.

use super::Row;

pub const ROWS: &[Row] = &[
    Row {
        subjects: &["headers"],
        values: &["broken, owner"],
        signs: "-A-A",
        why: "Of two extended headers the last counts, so the first need not be in order for GNU tar.",
    },
    Row {
        subjects: &["headers"],
        values: &["long target, broken"],
        signs: "--A-",
        why: "Behind a header of GNU bsdtar does not mind records that are broken.",
    },
    Row {
        subjects: &["headers"],
        values: &["sparse map, volume"],
        signs: "--AB",
        why: "A label is no file and takes the headers before it along (B); GNU tar makes a file of it, and bsdtar gives the map to the next one.",
    },
    Row {
        subjects: &["sparse map"],
        values: &["of the padding too"],
        signs: "-AB-",
        why: "The map speaks of more than the entry has; GNU tar takes what follows for content.",
    },
    Row {
        subjects: &["sparse map"],
        values: &["of the next entry too"],
        signs: "-AB-",
        why: "The map speaks of more than the entry has; GNU tar takes what follows for content.",
    },
    Row {
        subjects: &["target of a link"],
        values: &["what never comes, of a name that does"],
        signs: "---A",
        why: "A link may come before its target (docs/umoci-differences.md), so one that is replaced leads nowhere without harm.",
    },
    Row {
        subjects: &["size of a link"],
        values: &["behind an extended header"],
        signs: "AABA",
        why: "bsdtar lets a link of a PAX archive have content; for all others a link has none.",
    },
    Row {
        subjects: &["GNU.sparse.size"],
        values: &[
            "more than the content, GNU.sparse.size",
            "more than the content, GNU.sparse.realsize",
        ],
        signs: "A-BA",
        why: "Without a map the file is not sparse, and the record does not count; GNU tar takes what follows for content.",
    },
    Row {
        subjects: &["GNU.sparse.size"],
        values: &[
            "less than the content, GNU.sparse.size",
            "less than the content, GNU.sparse.realsize",
        ],
        signs: "AB-A",
        why: "Without a map the file is not sparse, and the record does not count; GNU tar cuts the file (B).",
    },
    Row {
        subjects: &["sparse map"],
        values: &["of a header without magic"],
        signs: "ABAA",
        why: "The records say that the file is sparse; GNU tar knows sparse files only where the header has its magic or that of POSIX.",
    },
    Row {
        subjects: &["sparse map"],
        values: &["of a header without magic, before garbage"],
        signs: "-AB-",
        why: "As above; where the file ends, what follows is no header, but GNU tar takes it for content.",
    },
    Row {
        subjects: &["sparse map"],
        values: &[
            "of type 1",
            "of type 2",
            "of type 3",
            "of type 4",
            "of type 5",
            "of type 6",
        ],
        signs: "--A-",
        why: "What is no file has no content of which a map could speak; bsdtar does not look.",
    },
    Row {
        subjects: &["xattr of a fifo"],
        values: &["empty", "of libarchive"],
        signs: "AA--",
        why: "The kernel refuses the attribute as it does another, and so do we; others leave it out, or warn.",
    },
    Row {
        subjects: &["type of a whiteout"],
        values: &["S with a broken map"],
        signs: "A-A-",
        why: "A map that cannot be read is refused whatever the entry is.",
    },
    Row {
        subjects: &["type of a whiteout"],
        values: &["0 with a prefix"],
        signs: "ABBA",
        why: "A whiteout makes no directory for itself (A); tar knows none.",
    },
    Row {
        subjects: &["size without content"],
        values: &["with a slash"],
        signs: "-AA-",
        why: "A file may end with a slash, and takes what follows for its content; to others it is a directory, which has none.",
    },
    Row {
        subjects: &["PAX uid"],
        values: &["over one out of range"],
        signs: "A-AA",
        why: "GNU tar wants an owner in range in the field even where it does not count.",
    },
    Row {
        subjects: &["PAX size"],
        values: &["over spaces"],
        signs: "A-AA",
        why: "GNU tar wants a digit in the field even where it does not count.",
    },
    Row {
        subjects: &["mode"],
        values: &["below zero, of a device"],
        signs: "-AAA",
        why: "The mode of a file may be below zero for the Go tool, whose kernel refuses that of a device.",
    },
];
