// SPDX-License-Identifier: Apache-2.0
//! Tests of what is written and read back.

use super::{Header, Mtree, MtreeWriter, line, pairs};
use crate::digest::Digest;
use crate::node::{Inode, Node, NodeKind, Time, TreePath, Xattrs};

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::clean(text.as_bytes()).expect("path")
}

pub(crate) fn inode(kind: NodeKind, mode: u32, nlink: u64) -> Inode {
    let size = match &kind {
        NodeKind::File { size } => *size,
        NodeKind::Symlink { target } => target.len() as u64,
        _ => 4096,
    };
    let mtime = Time {
        sec: 1_795_456_081,
        nsec: 5,
    };
    let node = Node {
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime,
        atime: None,
        xattrs: Xattrs::new(),
    };
    Inode {
        node,
        size,
        nlink,
        dev: 1,
        ino: 1,
        ctime: mtime,
    }
}

pub(crate) fn format(lines: &[(TreePath, Box<[u8]>)], header: &Header) -> Vec<u8> {
    let mut writer = MtreeWriter::new(Vec::new(), header).expect("head");
    for (path, line) in lines {
        writer.add(path, line).expect("line");
    }
    writer.finish().expect("end").0
}

#[test]
fn the_text_is_that_of_the_sample() {
    let mut mtree = Vec::new();
    let dir = |nlink| inode(NodeKind::Dir, 0o755, nlink);
    let mut insert = |path, inode: &Inode, sha256: Option<&Digest>| {
        mtree.push((path, line(inode, sha256)));
    };
    insert(path("."), &dir(4), None);
    let empty = Digest::sha256(b"");
    insert(
        path("after"),
        &inode(NodeKind::File { size: 0 }, 0o644, 1),
        Some(&empty),
    );
    let link = NodeKind::Symlink {
        target: b"a b".to_vec(),
    };
    insert(path("l"), &inode(link, 0o777, 1), None);
    insert(path("d1"), &dir(3), None);
    insert(
        path("d1/f"),
        &inode(NodeKind::File { size: 3 }, 0o664, 1),
        Some(&empty),
    );
    insert(path("d1/sub dir"), &dir(2), None);
    let mut other = dir(2);
    (other.node.uid, other.node.gid) = (5, 6);
    other.node.xattrs.insert(b"user.a".to_vec(), b"v".to_vec());
    other
        .node
        .xattrs
        .insert(b"security.selinux".to_vec(), b"v".to_vec());
    insert(path("d2"), &other, None);
    let header = Header {
        user: Some("root".to_owned()),
        machine: Some("myhost".to_owned()),
        tree: "bundle/rootfs".to_owned(),
        date: Some("Mon Nov 23 17:48:01 2026".to_owned()),
    };
    let hex = empty.encoded();
    let t = "tar_time=1795456081.000000000";
    let want = format!(
        "#          user: root
#       machine: myhost
#          tree: bundle/rootfs
#          date: Mon Nov 23 17:48:01 2026
#      keywords: size,type,uid,gid,mode,link,nlink,tar_time,sha256digest,xattr

# .
/set type=file nlink=1 mode=0664 uid=0 gid=0
. size=4096 type=dir mode=0755 nlink=4 {t}
    after size=0 mode=0644 {t} sha256digest={hex}
    l size=3 type=link mode=0777 link=a\\040b {t}

# d1
d1 size=4096 type=dir mode=0755 nlink=3 {t}
    f size=3 {t} sha256digest={hex}

# d1/sub dir
sub\\040dir size=4096 type=dir mode=0755 nlink=2 {t}
..
..

# d2
/set type=file nlink=1 mode=0664 uid=5 gid=6
d2 size=4096 type=dir mode=0755 nlink=2 {t} xattr.user.a=dg==
..
..
"
    );
    let text = format(&mtree, &header);
    assert_eq!(String::from_utf8(text.clone()).expect("utf-8"), want);
    assert_eq!(Mtree::parse(text.clone()).expect("own text").count(), mtree.len());
}

#[test]
fn what_is_written_is_read_back() {
    let names: [&[u8]; 12] = [
        b"back\\",
        b"a b",
        b"#c",
        b"nl\nx",
        b"cr\r",
        b"tab\t",
        b"\xff\xfe",
        "\u{e9}".as_bytes(),
        b"=x=",
        b"...",
        b"*?[",
        b"set",
    ];
    let mut mtree = Vec::new();
    let mut insert = |path, inode: &Inode, sha256: Option<&Digest>| {
        mtree.push((path, line(inode, sha256)));
    };
    insert(path("."), &inode(NodeKind::Dir, 0o755, 1), None);
    for (n, name) in names.iter().enumerate() {
        let dir = TreePath::root().join(name).expect("name");
        let mut node = inode(NodeKind::Dir, 0o664, 1);
        node.node.uid = n as u32 / 3;
        node.node.xattrs.insert(b"user.a b=\\".to_vec(), name.to_vec());
        insert(dir.clone(), &node, None);
        for below in names {
            let below = dir.join(below).expect("name");
            let kind = match n % 3 {
                0 => NodeKind::Symlink {
                    target: [*name, b"\\"].concat(),
                },
                1 => NodeKind::Fifo,
                _ => NodeKind::File { size: 7 },
            };
            insert(below, &inode(kind, 0o7777, 2), Some(&Digest::sha256(name)));
        }
    }
    let text = format(&mtree, &Header::default());
    let back = Mtree::parse(text.clone()).expect("own text");
    assert_eq!(back.count(), mtree.len());
    for (path, line) in mtree {
        let mut found = back.line(&path).expect("read").expect("line");
        found.sort();
        let written = pairs(&line).map(|(name, value)| (name.to_vec(), value.to_vec()));
        let mut written: Vec<_> = written.collect();
        written.sort();
        assert_eq!(found, written, "{path}");
    }
}
