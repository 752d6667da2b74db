// SPDX-License-Identifier: Apache-2.0
//! Layers without a bundle: from a directory, a whiteout, or a finished tar.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Algorithm;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::Root;
use crate::image::NewLayer;
use crate::layer::{HEAD, LayerReader, LayerStream, LayerWriter, Limits, Sniffed, check_entries};
use crate::node::TreePath;
use crate::progress::{Counted, Monitor, Task};
use crate::rootfs::{PackOptions, Packer};
use crate::spec::Compression;
use crate::store::Txn;

/// Content of a new layer.
#[derive(Clone, Debug)]
pub enum Insertion {
    /// The file or directory at `source` stands at `target`; a directory's content joins what is there, or with
    /// `opaque` replaces it. A link is stored itself.
    Tree {
        /// Path on this machine.
        source: PathBuf,
        /// Path in the image.
        target: TreePath,
        /// Hide what lower layers have at `target`.
        opaque: bool,
    },
    /// The entry at this path is hidden.
    Whiteout(TreePath),
}

/// Writes a layer, which [`Edit::add_layer`](crate::image::Edit::add_layer) makes part of an image.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the source is not there, [`ErrorKind::Invalid`] for names that a layer cannot hold (those
/// that begin with `.wh.`) and for owners that the map of ids leaves out.
///
/// # Example: an image of a directory
/// ```
/// use umoci::bundle::{Insertion, insert};
/// use umoci::image::Edit;
/// use umoci::bundle::TreePath;
/// use umoci::progress::Silent;
/// use umoci::bundle::PackOptions;
/// use umoci::store::{Store, StoreOptions};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let dir = dir.path();
/// std::fs::create_dir(dir.join("tree")).unwrap();
/// std::fs::write(dir.join("tree/hello"), "world\n").unwrap();
/// let store = Store::create(&dir.join("layout"), StoreOptions::default())?;
///
/// let mut txn = store.begin("example")?;
/// let mut edit = Edit::blank("2026-01-02T03:04:05Z".to_owned());
/// let tree = Insertion::Tree { source: dir.join("tree"), target: TreePath::root(), opaque: false };
/// let layer = insert(&mut txn, &tree, edit.auto_compression(), &PackOptions::default(), &Silent)?;
/// edit.add_layer(layer, None);
/// edit.apply(&mut txn, &"app".parse()?)?;
/// txn.commit()?;
/// assert_eq!(store.names()?, ["app"]);
/// # Ok::<(), umoci::error::Error>(())
/// ```
pub fn insert(
    txn: &mut Txn<'_>,
    what: &Insertion,
    compression: Compression,
    opts: &PackOptions,
    monitor: &dyn Monitor,
) -> Result<NewLayer> {
    NewLayer::write(txn, compression, |out| {
        let task: Arc<dyn Task> = Arc::from(monitor.task("packing", None));
        let mut writer = LayerWriter::new(Counted::new(out, &task), b"/");
        match what {
            Insertion::Whiteout(path) => writer.whiteout(path)?,
            Insertion::Tree {
                source,
                target,
                opaque,
            } => {
                let (root, name) = open_source(source, opts.id_map.rootless)?;
                if target.is_root() {
                    check_root(&root, &name, source)?;
                }
                if *opaque {
                    writer.opaque(target)?;
                }
                Packer::new(&root, &mut writer, opts, monitor).tree(&name, target)?;
            }
        }
        writer.finish().map(|_| ())
    })
}

/// Returns the directory that holds `source`, and its name there.
fn open_source(source: &Path, rootless: bool) -> Result<(Root, TreePath)> {
    // A slash behind a name says nothing of what is there.
    let source: &Path = &source.components().collect::<PathBuf>();
    if !crate::fs::exists(source)? {
        fail!(NotFound, "{}: no such file or directory", source.display());
    }
    let (dir, name) = match (source.parent(), source.file_name()) {
        (Some(above), Some(name)) if above.as_os_str().is_empty() => (Path::new("."), name),
        (Some(above), Some(name)) => (above, name),
        // `.`, `..` and `/` are directories; what is in them is what is wanted.
        _ => (source, OsStr::new("")),
    };
    let name = TreePath::clean(name.as_encoded_bytes())?;
    Ok((Root::open(dir)?.rootless(rootless), name))
}

/// Refuses what is no directory and would stand in place of the root, where no image may have it.
fn check_root(root: &Root, name: &TreePath, source: &Path) -> Result<()> {
    let (dir, last) = root.parent(name)?;
    match root.stat(&dir, &last)? {
        Some(inode) if !inode.node.is_dir() => {
            let path = source.display();
            let text = format!("{path} is no directory and cannot be the root: name the target, as /{name}");
            fail!(Invalid, "{text}")
        }
        _ => Ok(()),
    }
}

/// Makes a layer of the tar archive in the file or pipe at `path`. A plain one gets the compression `wanted`, else `automatic`;
/// one that is compressed with gzip or zstd gets `wanted` too, and stays as it is, byte for byte, if that is `None`.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a directory, [`ErrorKind::Corrupt`] for what is no tar archive, or a broken one,
/// [`ErrorKind::Unsupported`] for one that is compressed in another way. An empty file is an empty archive.
pub fn add_archive(
    txn: &mut Txn<'_>,
    path: &Path,
    wanted: Option<Compression>,
    automatic: Compression,
    monitor: &dyn Monitor,
) -> Result<NewLayer> {
    let mut file = crate::fs::open_file(path).context(|| "open new layer archive")?;
    let meta = file.metadata().doing("stat", path)?;
    if meta.is_dir() {
        fail!(Invalid, "new layer archive is a directory: {}", path.display());
    }
    // Of a pipe nobody knows the size, and it can be read once.
    let total = meta.is_file().then_some(meta.len());
    let task: Arc<dyn Task> = Arc::from(monitor.task("packing", total));
    let mut head = Vec::new();
    let read = (&mut file).take(HEAD).read_to_end(&mut head);
    read.doing("read", path)?;
    let found = Sniffed::of(&head);
    let whole = Counted::new(io::Cursor::new(head).chain(file), &task);
    store_archive(txn, whole, found, wanted, automatic).map_err(|err| {
        let what = match err.kind() {
            ErrorKind::Corrupt => " is no tar archive, or a broken one",
            _ => "",
        };
        err.context(format!("new layer archive {}{what}", path.display()))
    })
}

fn store_archive(
    txn: &mut Txn<'_>,
    archive: impl Read + Send + 'static,
    found: Sniffed,
    wanted: Option<Compression>,
    automatic: Compression,
) -> Result<NewLayer> {
    let compression = wanted.unwrap_or(automatic);
    let mut holds_images = false;
    let mut layer = match found {
        Sniffed::Foreign(name) => fail!(
            Unsupported,
            "it is compressed with {name}, which is not handled: decompress it first"
        ),
        Sniffed::Compressed(found) if wanted.is_none() => return NewLayer::keep(txn, found, archive),
        Sniffed::Compressed(found) => NewLayer::write(txn, compression, |out| {
            let tar = LayerStream::open(archive, found, Algorithm::Sha256, &Limits::default())?;
            let (tar, copied) = copy_checked(tar, out);
            match copied {
                Ok(found) => holds_images = found,
                Err(err) => return Err(tar.blame(err)),
            }
            tar.finish().map(drop)
        })?,
        Sniffed::Tar | Sniffed::Other => NewLayer::write(txn, compression, |out| {
            holds_images = copy_checked(archive, out).1?;
            Ok(())
        })?,
    };
    layer.holds_images = holds_images;
    Ok(layer)
}

/// Copies an archive byte for byte while its entries are read; gives the archive back, and whether it is one of images.
fn copy_checked<R: Read>(from: R, to: &mut dyn Write) -> (R, Result<bool>) {
    let mut reader = LayerReader::new(Copied { from, to }, Limits::default());
    let mut read = check_entries(&mut reader);
    let mut copied = reader.into_inner();
    // An entry over a limit, or of a type unknown here, is no fault of the archive.
    if matches!(&read, Err(err) if matches!(err.kind(), ErrorKind::Limit | ErrorKind::Unsupported)) {
        read = io::copy(&mut copied, &mut io::sink())
            .map(|_| false)
            .map_err(Error::from);
    }
    let flushed = copied.to.flush().map_err(Error::from);
    (copied.from, flushed.and(read))
}

/// Writes to `to` what is read from `from`.
struct Copied<'a, R> {
    from: R,
    to: &'a mut dyn Write,
}

impl<R: Read> Read for Copied<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.to.write_all(&buf[..n])?;
        Ok(n)
    }
}
