//! Small records that say whether they are whole.
//!
//! A sealed record is `version (1) | length (4, little endian) | CRC-32 (4) | payload`, the checksum
//! being over version, length and payload. Invariant: [`unseal`] gives back what was sealed or says
//! that it cannot; a torn or empty record is never taken for a value.

use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;
const HEAD: usize = 9;

/// Why a record could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsealed {
    /// Torn, damaged or never written.
    #[error("the record is torn or damaged")]
    Broken,
    /// Whole, but of a version this program does not know.
    #[error("the record has version {0}; a newer server wrote it")]
    Newer(u8),
}

/// Writes a record down.
pub(super) fn seal(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    // Serialising plain structs of numbers, texts and bytes into memory has no way to fail.
    bytes = postcard::to_extend(record, bytes).expect("plain data serialises into memory");
    let length = u32::try_from(bytes.len() - HEAD).expect("a record is far below 4 GiB");
    bytes[0] = VERSION;
    bytes[1..5].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&bytes[..5], &bytes[HEAD..]);
    bytes[5..HEAD].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the record at the beginning of `bytes`; what follows it is the rest.
pub(super) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Unsealed> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(Unsealed::Broken)?;
    let [version, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    let length =
        usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| Unsealed::Broken)?;
    let (payload, rest) = rest.split_at_checked(length).ok_or(Unsealed::Broken)?;
    if checksum(&head[..5], payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Unsealed::Broken);
    }
    if version != VERSION {
        return Err(Unsealed::Newer(version));
    }
    postcard::from_bytes(payload).map(|record| (record, rest)).map_err(|_| Unsealed::Broken)
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Record = (u64, String, Vec<u8>);

    proptest! {
        #[test]
        fn a_record_comes_back_with_what_followed_it(record: Record, after: Vec<u8>) {
            let mut bytes = seal(&record);
            bytes.extend_from_slice(&after);
            prop_assert_eq!(unseal::<Record>(&bytes), Ok((record, &after[..])));
        }

        #[test]
        fn a_torn_or_flipped_record_is_refused(
            record: Record,
            at: prop::sample::Index,
            flip in 1u8..,
        ) {
            let whole = seal(&record);
            prop_assert!(unseal::<Record>(&whole[..at.index(whole.len())]).is_err());
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= flip;
            prop_assert!(unseal::<Record>(&flipped).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = seal(&7u64);
        bytes[0] = 9;
        assert_eq!(unseal::<u64>(&bytes), Err(Unsealed::Broken));
        let checksum = checksum(&bytes[..5], &bytes[HEAD..]);
        bytes[5..HEAD].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(unseal::<u64>(&bytes), Err(Unsealed::Newer(9)));
        assert_eq!(unseal::<u64>(&[0; 64]), Err(Unsealed::Broken));
    }
}
