// SPDX-License-Identifier: Apache-2.0
//! An entry of an archive, as its header will be, and the headers that may stand before it.

/// Makes a checksum field of the sums of the bytes as unsigned and as signed numbers.
pub type Sum = fn(u32, i32) -> Vec<u8>;

/// An entry, as its header will be.
#[derive(Clone)]
pub struct Entry {
    /// Extended headers before it.
    pub before: Vec<u8>,
    pub name: Vec<u8>,
    pub flag: u8,
    pub link: Vec<u8>,
    pub magic: [u8; 8],
    /// What the size field says, if not the size of the content.
    pub size: Option<u64>,
    /// Bytes written over the header, by offset.
    pub fields: Vec<(usize, Vec<u8>)>,
    /// The checksum field, made of the sums of the bytes as unsigned and as signed numbers.
    pub sum: Sum,
    /// Blocks behind the header that its size does not count.
    pub map: Vec<u8>,
    pub content: Vec<u8>,
}

pub const USTAR: [u8; 8] = *b"ustar\x0000";
pub const GNU: [u8; 8] = *b"ustar  \0";

impl Entry {
    /// A regular file of five bytes.
    pub fn new(name: &[u8]) -> Self {
        Self {
            before: Vec::new(),
            name: name.to_vec(),
            flag: b'0',
            link: Vec::new(),
            magic: USTAR,
            size: None,
            fields: Vec::new(),
            sum: |unsigned, _| format!("{unsigned:06o}\0 ").into_bytes(),
            map: Vec::new(),
            content: b"hello".to_vec(),
        }
    }

    pub fn typed(mut self, flag: u8, content: &[u8]) -> Self {
        self.flag = flag;
        self.content = content.to_vec();
        self
    }

    /// The header block before its checksum is made.
    pub fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, b"0000644\x000000001\x000000002\0");
        let size = self.size.unwrap_or(self.content.len() as u64);
        put(124, format!("{size:011o}\x0007346545000\0").as_bytes());
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, &self.magic);
        if matches!(self.flag, b'3' | b'4') {
            put(329, b"0000001\x000000003\0");
        }
        for (at, bytes) in &self.fields {
            put(*at, bytes);
        }
        block
    }

    /// Whether its type or content is no longer that of a plain file.
    pub fn is_told(&self) -> bool {
        let plain = Self::new(&self.name);
        (self.flag, &self.content, self.size) != (plain.flag, &plain.content, plain.size)
            || self.name.starts_with(b".wh.")
    }

    /// Whether its size field was written over.
    pub fn has_own_size(&self) -> bool {
        self.fields.iter().any(|(at, _)| *at == 124)
    }

    /// Appends the entry to an archive.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before);
        let mut block = self.header();
        block[148..156].fill(b' ');
        let unsigned = block.iter().map(|&c| u32::from(c)).sum();
        let signed = block.iter().map(|&c| i32::from(c.cast_signed())).sum();
        let sum = (self.sum)(unsigned, signed);
        block[148..156].copy_from_slice(&sum);
        out.extend_from_slice(&block);
        out.extend_from_slice(&self.map);
        padded(&self.content, out);
    }
}

pub fn padded(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// An entry that speaks of another one.
pub fn meta(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut entry = Entry::new(b"meta").typed(flag, content);
    if matches!(flag, b'L' | b'K') {
        entry.magic = GNU;
    }
    let mut out = Vec::new();
    entry.write(&mut out);
    out
}

pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = rest + (rest + rest.to_string().len()).to_string().len();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn records(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    pairs.iter().flat_map(|(key, value)| record(key, value)).collect()
}

pub fn pax(flag: u8, pairs: &[(&str, &[u8])]) -> Vec<u8> {
    meta(flag, &records(pairs))
}
