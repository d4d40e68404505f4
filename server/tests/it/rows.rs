//! Rows as they are stored, for tests that damage or forge them: a value ends in the CRC-32 of its
//! table's name, a zero byte, the key's length, the key and the value.

/// Seals a value like the server does.
pub(crate) fn seal(table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(table.as_bytes());
    crc.update(&[0]);
    crc.update(&(key.len() as u64).to_le_bytes());
    crc.update(key);
    crc.update(value);
    [value, &crc.finalize().to_le_bytes()].concat()
}

/// A stored value without its checksum.
pub(crate) fn unseal(stored: &[u8]) -> &[u8] {
    &stored[..stored.len() - 4]
}
