// SPDX-License-Identifier: Apache-2.0
//! Tar archives block by block, in whatever dialect a test wants.

/// An archive that is being written; nothing in it is checked.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry with a ustar header, of mode 0644 (0755 for directories), owned by 0:0, from 2001; `edit` changes
    /// any byte of the header before its checksum is made.
    pub fn entry(mut self, name: &[u8], flag: u8, content: &[u8], edit: impl FnOnce(&mut [u8])) -> Self {
        let mut block = [0; 512];
        let short = &name[..name.len().min(100)];
        block[..short.len()].copy_from_slice(short);
        block[100..107].copy_from_slice(if flag == b'5' { b"0000755" } else { b"0000644" });
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[136..147].copy_from_slice(b"07346545000");
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        edit(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&c| u32::from(c)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.data(content)
    }

    /// Bytes, padded to whole blocks.
    pub fn data(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// An extended header for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let data: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        self.entry(b"PaxHeaders/x", b'x', &data, |_| ())
    }

    /// An entry whose name and link target may be of any length and bytes.
    pub fn any(self, name: &[u8], flag: u8, content: &[u8], link: &[u8]) -> Self {
        let mut out = self;
        let long = |text: &[u8]| text.len() > 100 || !text.is_ascii();
        let mut records: Vec<(&str, &[u8])> = Vec::new();
        if long(name) {
            records.push(("path", name));
        }
        if long(link) {
            records.push(("linkpath", link));
        }
        if !records.is_empty() {
            out = out.pax(&records);
        }
        out.entry(name, flag, content, |b| {
            let short = &link[..link.len().min(100)];
            b[157..157 + short.len()].copy_from_slice(short);
        })
    }

    /// Entries written as `type path[=content or target]`: `f` file, `d` directory, `l` symlink, `h` hard link,
    /// `p` fifo, `w` whiteout, `o` opaque whiteout.
    pub fn list(self, specs: &[&str]) -> Self {
        specs.iter().fold(self, |out, spec| {
            let (kind, rest) = spec.split_once(' ').expect("type and path");
            let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
            let (dir, base) = match name.rsplit_once('/') {
                Some((dir, base)) => (format!("{dir}/"), base),
                None => (String::new(), name),
            };
            let (name, value) = (name.as_bytes(), value.as_bytes());
            match kind {
                "f" => out.any(name, b'0', value, b""),
                "d" => out.any(name, b'5', b"", b""),
                "l" => out.any(name, b'2', b"", value),
                "h" => out.any(name, b'1', b"", value),
                "p" => out.any(name, b'6', b"", b""),
                "w" => out.any(format!("{dir}.wh.{base}").as_bytes(), b'0', b"", b""),
                "o" => out.any(&[name, b"/.wh..wh..opq"].concat(), b'0', b"", b""),
                _ => panic!("{spec}"),
            }
        })
    }

    /// The entries so far, without an end.
    pub fn plain(&self) -> Vec<u8> {
        self.0.clone()
    }

    /// The whole archive.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// One record of an extended header.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
