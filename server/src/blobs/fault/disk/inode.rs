//! The content of a simulated file: what programs see, what is durable, and the difference.

/// What is written or lost as one.
const BLOCK: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone, Debug)]
pub(super) enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Inode {
    fn apply(content: &mut Vec<u8>, write: &Write) {
        match write {
            Write::Length(length) => content.resize(*length, 0),
            Write::Bytes(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
        }
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn change(&mut self, write: Write) {
        Self::apply(&mut self.now, &write);
        self.unsynced.push(write);
    }

    /// What should have become durable is taken for clean.
    pub(super) fn fail_to_sync(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn sync(&mut self) {
        // Not the same as copying what is there now: what a failed sync forgot stays forgotten.
        for write in std::mem::take(&mut self.unsynced) {
            Self::apply(&mut self.durable, &write);
        }
    }

    pub(super) fn lose_power(&mut self, chance: &mut Chance) {
        for write in std::mem::take(&mut self.unsynced) {
            let pieces = match write {
                Write::Length(_) => vec![write],
                Write::Bytes(at, bytes) => blocks(at, &bytes),
            };
            for piece in pieces.iter().filter(|_| chance.even()) {
                Self::apply(&mut self.durable, piece);
            }
        }
        self.now = self.durable.clone();
    }
}

/// Cuts a write where blocks end.
fn blocks(at: usize, bytes: &[u8]) -> Vec<Write> {
    let (first, rest) = bytes.split_at(bytes.len().min(BLOCK - at % BLOCK));
    let later = at + first.len();
    let rest = rest
        .chunks(BLOCK)
        .zip(0..)
        .map(|(block, n)| Write::Bytes(later + n * BLOCK, block.to_vec()));
    std::iter::once(Write::Bytes(at, first.to_vec())).chain(rest).collect()
}

/// Chance drawn from a seed (SplitMix64).
pub(super) struct Chance(u64);

impl From<u64> for Chance {
    fn from(seed: u64) -> Self {
        Self(seed)
    }
}

impl Chance {
    pub(super) fn even(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}
