// SPDX-License-Identifier: Apache-2.0
//! How a tree differs from its manifest.

use std::collections::BTreeSet;
use std::fmt;

use super::keyword::{is_host_xattr, xattr_words};
use super::{Keyword, Keywords, Mtree, pairs};
use crate::error::Result;
use crate::node::{ChangeKind, Inode, NodeKind, TreePath};

/// One path that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// How.
    pub kind: ChangeKind,
    /// For a modified path the first keyword that differs, with the recorded and the present value.
    pub keyword: Option<(String, String, String)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: ", self.path)?;
        match (&self.kind, &self.keyword) {
            (ChangeKind::Removed, _) => f.write_str("missing path"),
            (ChangeKind::Modified, Some((name, expected, got))) => {
                write!(f, "keyword {name:?}: expected {expected}; got {got}")
            }
            _ => f.write_str("unexpected path"),
        }
    }
}

/// A value that is not in the metadata of a file: digests of its content, names of its owners.
pub type Value<'a> = &'a mut dyn FnMut(&TreePath, &Inode, Keyword) -> Result<String>;

/// Compares a tree with what was recorded of it, by the keywords that are wanted. The result is sorted by path.
///
/// `value` is asked for what is not in the metadata, and for contents only where all else is equal.
pub fn compare(
    recorded: &Mtree,
    actual: impl Iterator<Item = Result<(TreePath, Inode)>>,
    wanted: &Keywords,
    value: Value<'_>,
) -> Result<Vec<Difference>> {
    let mut missing: BTreeSet<&TreePath> = recorded.entries.keys().collect();
    let mut out = Vec::new();
    for item in actual {
        let (path, inode) = item?;
        let Some(line) = recorded.entries.get(&path) else {
            out.push(Difference {
                path,
                kind: ChangeKind::Added,
                keyword: None,
            });
            continue;
        };
        missing.remove(&path);
        if let Some(keyword) = differs(line, &path, &inode, wanted, value)? {
            out.push(Difference {
                path,
                kind: ChangeKind::Modified,
                keyword: Some(keyword),
            });
        }
    }
    let gone = missing.into_iter().map(|p| Difference {
        path: p.clone(),
        kind: ChangeKind::Removed,
        keyword: None,
    });
    out.extend(gone);
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

type Differing = Option<(String, String, String)>;

fn differs(
    line: &[u8],
    path: &TreePath,
    inode: &Inode,
    wanted: &Keywords,
    value: Value<'_>,
) -> Result<Differing> {
    let recorded = |name: &str| pairs(line).find(|(n, _)| *n == name.as_bytes()).map(|(_, v)| v);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut check = |name: &str, expected: Option<&[u8]>, got: Option<&[u8]>| -> Differing {
        (expected != got).then(|| {
            (
                name.to_owned(),
                expected.map(text).unwrap_or_default(),
                got.map(text).unwrap_or_default(),
            )
        })
    };
    let cheap = wanted.iter().filter(|k| !k.needs_content());
    for keyword in cheap {
        let name = keyword.name();
        let found = match keyword {
            Keyword::Xattr => xattrs_differ(line, inode, &mut check),
            Keyword::Time | Keyword::TarTime => time_differs(line, inode, wanted, &mut check),
            Keyword::Flags => None,
            Keyword::Uname | Keyword::Gname => {
                let got = value(path, inode, keyword)?;
                check(name, recorded(name), Some(got.as_bytes()))
            }
            _ => check(name, recorded(name), keyword.value(inode).as_deref()),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    for keyword in wanted.iter().filter(|k| k.needs_content()) {
        let name = keyword.name();
        let expected = recorded(name);
        let found = match (&inode.node.kind, expected) {
            (NodeKind::File { .. }, Some(_)) => {
                let got = value(path, inode, keyword)?;
                check(name, expected, Some(got.as_bytes()))
            }
            (NodeKind::File { .. }, None) => {
                let got = value(path, inode, keyword)?;
                Some((name.to_owned(), String::new(), got))
            }
            _ => check(name, expected, None),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn xattrs_differ(
    line: &[u8],
    inode: &Inode,
    check: &mut impl FnMut(&str, Option<&[u8]>, Option<&[u8]>) -> Differing,
) -> Differing {
    let recorded: Vec<(&[u8], &[u8])> = pairs(line)
        .filter(|(name, _)| name.starts_with(b"xattr.") && !is_host_xattr(name))
        .collect();
    let actual = xattr_words(inode);
    let names = recorded
        .iter()
        .map(|(name, _)| *name)
        .chain(actual.iter().map(|(name, _)| name.as_slice()));
    let names: BTreeSet<&[u8]> = names.collect();
    names.into_iter().find_map(|name| {
        let expected = recorded.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let got = actual.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice());
        check(&String::from_utf8_lossy(name), expected, got)
    })
}

/// Whole seconds are compared if either side knows no more; each of the two keywords stands for both.
fn time_differs(
    line: &[u8],
    inode: &Inode,
    wanted: &Keywords,
    check: &mut impl FnMut(&str, Option<&[u8]>, Option<&[u8]>) -> Differing,
) -> Differing {
    let recorded = |keyword: Keyword| {
        pairs(line)
            .find(|(n, _)| *n == keyword.name().as_bytes())
            .map(|(_, v)| v.to_vec())
    };
    let whole = |value: Vec<u8>| {
        let seconds = value.split(|&c| c == b'.').next().unwrap_or_default().to_vec();
        [seconds, b".000000000".to_vec()].concat()
    };
    let (keyword, expected) = match (recorded(Keyword::Time), recorded(Keyword::TarTime)) {
        (Some(time), _) if wanted.contains(Keyword::Time) => (Keyword::Time, Some(time)),
        (_, Some(time)) | (Some(time), None) => (Keyword::TarTime, Some(whole(time))),
        (None, None) => (Keyword::TarTime, None),
    };
    check(
        keyword.name(),
        expected.as_deref(),
        keyword.value(inode).as_deref(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::{inode, path};
    use super::*;
    use crate::digest::Digest;

    fn tree() -> Vec<(TreePath, Inode)> {
        let mut file = inode(NodeKind::File { size: 3 }, 0o644, 1);
        file.node.xattrs.insert(b"user.a".to_vec(), b"1".to_vec());
        let link = inode(
            NodeKind::Symlink {
                target: b"to".to_vec(),
            },
            0o777,
            1,
        );
        vec![
            (path("."), inode(NodeKind::Dir, 0o755, 2)),
            (path("f"), file),
            (path("l"), link),
        ]
    }

    fn recorded() -> Mtree {
        let mut mtree = Mtree::new();
        for (path, inode) in tree() {
            mtree.insert(path, &inode, Some(&Digest::sha256(b"abc")));
        }
        mtree
    }

    fn run(tree: Vec<(TreePath, Inode)>, content: &[u8]) -> (Vec<String>, usize) {
        let mut reads = 0;
        let mut value = |_: &TreePath, _: &Inode, _: Keyword| {
            reads += 1;
            Ok(Digest::sha256(content).encoded())
        };
        let found = compare(
            &recorded(),
            tree.into_iter().map(Ok),
            &Keywords::umoci(),
            &mut value,
        )
        .expect("compare");
        (found.iter().map(ToString::to_string).collect(), reads)
    }

    #[test]
    fn each_kind_of_change_is_named() {
        type Change = fn(&mut Vec<(TreePath, Inode)>);
        let cases: [(Change, &[&str]); 9] = [
            (|_| (), &[]),
            (
                |t| t[1].1.node.mode = 0o600,
                &["\"f\": keyword \"mode\": expected 0644; got 0600"],
            ),
            (
                |t| t[1].1.nlink = 2,
                &["\"f\": keyword \"nlink\": expected 1; got 2"],
            ),
            (|t| t[1].1.node.mtime.nsec = 9, &[]),
            (
                |t| t[0].1.node.mtime.sec += 1,
                &["\".\": keyword \"tar_time\": expected 1795456081.000000000; got 1795456082.000000000"],
            ),
            (
                |t| {
                    t[1].1.node.xattrs.clear();
                },
                &["\"f\": keyword \"xattr.user.a\": expected MQ==; got "],
            ),
            (
                |t| {
                    t[1].1
                        .node
                        .xattrs
                        .insert(b"security.selinux".to_vec(), b"x".to_vec());
                },
                &[],
            ),
            (
                |t| {
                    t.remove(2);
                },
                &["\"l\": missing path"],
            ),
            (
                |t| t[2].0 = path("m"),
                &["\"l\": missing path", "\"m\": unexpected path"],
            ),
        ];
        for (change, want) in cases {
            let mut tree = tree();
            change(&mut tree);
            assert_eq!(run(tree, b"abc").0, want);
        }
        let digest = |data| Digest::sha256(data).encoded();
        let want = format!(
            "\"f\": keyword \"sha256digest\": expected {}; got {}",
            digest(b"abc"),
            digest(b"xyz")
        );
        assert_eq!(run(tree(), b"xyz").0, [want]);
    }

    #[test]
    fn contents_are_read_only_where_all_else_is_equal() {
        let mut changed = tree();
        changed[1].1.size = 4;
        assert_eq!((run(tree(), b"abc").1, run(changed, b"abc").1), (1, 0));
    }
}
