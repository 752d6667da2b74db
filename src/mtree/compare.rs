// SPDX-License-Identifier: Apache-2.0
//! Comparison of a tree with its manifest.

use std::collections::BTreeMap;
use std::fmt;

use super::keyword::{is_host_xattr, xattr_words};
use super::parse::Word;
use super::quote::quoted;
use super::{Keyword, Keywords, Mtree, pairs, push_word};
use crate::error::Result;
use crate::node::{ChangeKind, Inode, NodeKind, TreePath};

/// One path that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The path.
    pub path: TreePath,
    /// Kind of the difference.
    pub kind: ChangeKind,
    /// For a modified path the first keyword that differs, with the recorded and the present value.
    pub keyword: Option<(String, String, String)>,
}

impl Difference {
    /// Makes the difference of a path that was recorded and is not there.
    pub fn missing(path: TreePath) -> Self {
        Self {
            path,
            kind: ChangeKind::Removed,
            keyword: None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_root() {
            b"."
        } else {
            self.path.as_bytes()
        };
        let path = quoted(path);
        match (&self.kind, &self.keyword) {
            (ChangeKind::Removed, _) => write!(f, "{path}: missing path"),
            (ChangeKind::Modified, Some((name, expected, got))) => {
                let name = quoted(name.as_bytes());
                write!(f, "{path}: keyword {name}: expected {expected}; got {got}")
            }
            _ => write!(f, "{path}: unexpected path"),
        }
    }
}

/// A value that is not in the metadata of a file: digests of its content, names of its owners.
pub type Value<'a> = &'a (dyn Fn(&TreePath, &Inode, Keyword) -> Result<String> + Sync);

impl Mtree {
    /// Compares what is at `path` with what was recorded of it, by the keywords that are wanted; threads may do so side
    /// by side. Paths that were never asked for are [`Mtree::missing`].
    ///
    /// `value` is asked for what is not in the metadata, and for contents only where all else is equal.
    ///
    /// # Errors
    /// Those of `value` and of the text.
    pub fn compare(
        &self,
        path: &TreePath,
        inode: &Inode,
        wanted: &Keywords,
        value: Value<'_>,
    ) -> Result<Option<Difference>> {
        let (kind, keyword) = match self.line(path)? {
            None => (ChangeKind::Added, None),
            Some(line) => match differs(&line, path, inode, wanted, value)? {
                None => return Ok(None),
                found => (ChangeKind::Modified, found),
            },
        };
        let path = path.clone();
        Ok(Some(Difference { path, kind, keyword }))
    }

    /// Returns the names of all wanted keywords by which what is at `path` differs from what was recorded of it; of another type
    /// `type` alone. Of a file that was not recorded there are none.
    ///
    /// # Errors
    /// As [`Mtree::compare`].
    pub fn differing(
        &self,
        path: &TreePath,
        inode: &Inode,
        wanted: &Keywords,
        value: Value<'_>,
    ) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        let Some(line) = self.line(path)? else {
            return Ok(names);
        };
        for keyword in by_cost(wanted) {
            let has = |name: Keyword| names.iter().any(|known| known == name.name());
            if has(Keyword::Type) {
                return Ok(vec![Keyword::Type.name().to_owned()]);
            }
            // Content of another size is another content, and need not be read.
            if keyword.needs_content() && has(Keyword::Size) {
                names.push(keyword.name().to_owned());
                continue;
            }
            let facts = facts(keyword, &line, path, inode, wanted, value)?;
            let other = facts.into_iter().filter(|(_, expected, got)| expected != got);
            names.extend(other.map(|(name, ..)| name));
        }
        Ok(names)
    }
}

/// A keyword with its recorded and its present value.
type Fact = (String, Option<Vec<u8>>, Option<Vec<u8>>);

/// Returns the first keyword that differs, with both values.
fn differs(
    line: &[Word],
    path: &TreePath,
    inode: &Inode,
    wanted: &Keywords,
    value: Value<'_>,
) -> Result<Option<(String, String, String)>> {
    for keyword in by_cost(wanted) {
        let facts = facts(keyword, line, path, inode, wanted, value)?;
        if let Some((name, expected, got)) = facts.into_iter().find(|(_, expected, got)| expected != got) {
            return Ok(Some((name, shown(expected), shown(got))));
        }
    }
    Ok(None)
}

/// Returns the keywords in the order in which they are compared.
fn by_cost(wanted: &Keywords) -> Vec<Keyword> {
    let mut keywords = wanted.to_vec();
    // A stable sort, so that of several differences the first by the order of the keywords is named.
    keywords.sort_by_key(|keyword| cost(*keyword));
    keywords
}

/// Returns what a keyword says of both sides: for extended attributes of each.
fn facts(
    keyword: Keyword,
    line: &[Word],
    path: &TreePath,
    inode: &Inode,
    wanted: &Keywords,
    value: Value<'_>,
) -> Result<Vec<Fact>> {
    Ok(match (keyword, &inode.node.kind) {
        // File flags are BSD's; Linux has nothing to compare them with.
        (Keyword::Flags, _) => Vec::new(),
        (Keyword::Xattr, _) => xattr_facts(line, inode),
        (Keyword::Time | Keyword::TarTime, _) => vec![time_fact(line, inode, wanted)],
        (Keyword::Uname | Keyword::Gname, _) | (_, NodeKind::File { .. }) if cost(keyword) > 0 => {
            let got = value(path, inode, keyword)?.into_bytes();
            vec![(keyword.name().to_owned(), recorded(line, keyword), Some(got))]
        }
        _ => vec![fact(keyword, recorded(line, keyword), inode)],
    })
}

/// Orders keywords: what is at hand comes first, then names of owners, contents last.
fn cost(keyword: Keyword) -> u8 {
    match keyword {
        Keyword::Uname | Keyword::Gname => 1,
        other if other.needs_content() => 2,
        _ => 0,
    }
}

fn fact(keyword: Keyword, recorded: Option<Vec<u8>>, inode: &Inode) -> Fact {
    (keyword.name().to_owned(), recorded, keyword.value(inode))
}

fn recorded(line: &[Word], keyword: Keyword) -> Option<Vec<u8>> {
    let mut words = line.iter();
    let found = words.find(|(name, _)| name == keyword.name().as_bytes());
    found.map(|(_, value)| value.clone())
}

fn shown(value: Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
}

/// Returns a fact for each attribute of either side, sorted by name; of a name that stands there several times, for each of
/// its places.
fn xattr_facts(line: &[Word], inode: &Inode) -> Vec<Fact> {
    // A name with `=` in it is spelled as it is, and what is read of it is another word: of both sides the same is read.
    let mut spelled = Vec::new();
    for (name, value) in xattr_words(inode) {
        push_word(&mut spelled, &name, &value);
    }
    let mut sides: BTreeMap<&[u8], [Vec<&[u8]>; 2]> = BTreeMap::new();
    for (name, value) in line {
        if name.starts_with(b"xattr.") && !is_host_xattr(name) {
            sides.entry(name).or_default()[0].push(value);
        }
    }
    for (name, value) in pairs(&spelled) {
        sides.entry(name).or_default()[1].push(value);
    }
    let mut facts = Vec::new();
    for (name, [expected, got]) in sides {
        for place in 0..expected.len().max(got.len()) {
            let [expected, got] = [&expected, &got].map(|side| side.get(place).map(|value| value.to_vec()));
            facts.push((String::from_utf8_lossy(name).into_owned(), expected, got));
        }
    }
    facts
}

/// Compares whole seconds if either side knows no more; each of the two keywords stands for both.
fn time_fact(line: &[Word], inode: &Inode, wanted: &Keywords) -> Fact {
    match (recorded(line, Keyword::Time), recorded(line, Keyword::TarTime)) {
        (Some(time), _) if wanted.contains(&Keyword::Time) => fact(Keyword::Time, Some(time), inode),
        (_, Some(time)) | (Some(time), None) => {
            // One side has whole seconds only: the fraction of the other is no difference.
            let seconds = time.split(|&c| c == b'.').next().unwrap_or_default();
            let whole = [seconds, b".000000000"].concat();
            fact(Keyword::TarTime, Some(whole), inode)
        }
        (None, None) if wanted.contains(&Keyword::TarTime) => fact(Keyword::TarTime, None, inode),
        (None, None) => fact(Keyword::Time, None, inode),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{format, inode, path};
    use super::super::{Header, line};
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

    fn recorded() -> Vec<u8> {
        let line = |(path, inode)| (path, line(&inode, Some(&Digest::sha256(b"abc"))));
        format(
            &tree().into_iter().map(line).collect::<Vec<_>>(),
            &Header::default(),
        )
    }

    /// Returns all that differs, by path.
    fn compare(
        recorded: Vec<u8>,
        tree: Vec<(TreePath, Inode)>,
        wanted: &Keywords,
        value: Value<'_>,
    ) -> Vec<Difference> {
        let recorded = Mtree::parse(recorded).expect("manifest");
        let found = |(path, inode)| recorded.compare(&path, &inode, wanted, value).expect("compare");
        let mut out: Vec<Difference> = tree.into_iter().filter_map(found).collect();
        let take = |path| {
            out.push(Difference::missing(path));
            Ok(())
        };
        recorded.missing(|_| false, take).expect("missing");
        out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        out
    }

    fn run(tree: Vec<(TreePath, Inode)>, content: &[u8]) -> (Vec<String>, usize) {
        let reads = std::sync::atomic::AtomicUsize::new(0);
        let value = |_: &TreePath, _: &Inode, _: Keyword| {
            reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Digest::sha256(content).encoded())
        };
        let found = compare(recorded(), tree, &Keywords::umoci(), &value);
        let reads = reads.into_inner();
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
        let want = std::format!(
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

    #[test]
    fn text_is_quoted_as_go_does() {
        for (raw, want) in [
            (&b"a b"[..], r#""a b""#),
            (b"", r#"".""#),
            (b"q\"\\", r#""q\"\\""#),
            (b"\n\t\x01\x7f", r#""\n\t\x01\x7f""#),
            ("\u{e9}\u{85}".as_bytes(), "\"\u{e9}\\u0085\""),
            (b"\xff", r#""\xff""#),
        ] {
            let found = Difference {
                path: TreePath::clean(raw).expect("path"),
                kind: ChangeKind::Removed,
                keyword: None,
            };
            assert_eq!(found.to_string(), std::format!("{want}: missing path"));
        }
    }

    #[test]
    fn keywords_on_one_side_only_and_times_of_either_name() {
        let line = |text: &str| std::format!(". type=dir {text}\n").into_bytes();
        for (recorded, wanted, want) in [
            ("time=1795456081.000000005", "time", ""),
            ("time=1795456081.000000006", "time", "time"),
            ("time=1795456081.000000006", "tar_time", ""),
            ("tar_time=1795456081.000000000", "time", ""),
            ("tar_time=1795456082.000000000", "time", "tar_time"),
            ("", "time", "time"),
            ("", "tar_time", "tar_time"),
            ("", "mode", "mode"),
            ("link=x", "link", "link"),
            ("link=x", "mode", "mode"),
            ("sha1=ab", "sha1", "sha1digest"),
            ("uname=me", "uname", ""),
            ("uname=you mode=0700", "uname,mode", "mode"),
            ("xattr.security.selinux=AA==", "xattr", ""),
            ("xattr.user.x=AA==", "xattr", "xattr.user.x"),
            ("xattr.user.x=AA==", "type", ""),
        ] {
            let tree = vec![(path("."), inode(NodeKind::Dir, 0o755, 2))];
            let value = |_: &TreePath, _: &Inode, _: Keyword| Ok("me".to_owned());
            let wanted = Keywords::parse(wanted).expect("keywords");
            let found = compare(line(recorded), tree, &wanted, &value);
            let keyword = found
                .first()
                .and_then(|d| d.keyword.as_ref())
                .map_or("", |k| &k.0);
            assert_eq!(keyword, want, "{recorded}, wanted {wanted:?}");
        }
    }
}
