//! The runtime's executable: its size, and the shared libraries that are loaded with it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::{Context as _, Result};

const PT_INTERP: u32 = 3;

/// Size in bytes of the file that `path` leads to.
pub(crate) fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).context(path.display())?.len())
}

/// How many shared libraries the dynamic loader maps for the executable, itself not counted; or
/// why that is unknown.
pub(crate) fn shared_libraries(path: &Path) -> Result<u64> {
    if !has_interpreter(&fs::read(path).context(path.display())?)? {
        return Ok(0);
    }
    let output = Command::new("ldd").arg(path).output().context("ldd")?;
    Ok(count_libraries(&String::from_utf8_lossy(&output.stdout)))
}

/// Whether a 64-bit little-endian ELF file names a dynamic loader (`PT_INTERP`).
fn has_interpreter(file: &[u8]) -> Result<bool> {
    if file.get(..6) != Some(b"\x7fELF\x02\x01".as_slice()) {
        return Err("not a 64-bit little-endian ELF file".to_owned());
    }
    headers(file).ok_or_else(|| "a truncated ELF file".to_owned())
}

fn headers(file: &[u8]) -> Option<bool> {
    let table = usize::try_from(u64::from_le_bytes(field(file, 0x20)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(field(file, 0x36)?));
    let count = usize::from(u16::from_le_bytes(field(file, 0x38)?));
    let mut found = false;
    for index in 0..count {
        let kind = u32::from_le_bytes(field(file, table.checked_add(index * size)?)?);
        found |= kind == PT_INTERP;
    }
    Some(found)
}

fn field<const N: usize>(file: &[u8], offset: usize) -> Option<[u8; N]> {
    file.get(offset..)?.first_chunk().copied()
}

/// Lines of `ldd` that lead to a file; the loader and the vDSO have no arrow.
fn count_libraries(text: &str) -> u64 {
    text.lines().filter(|line| line.contains(" => /")).map(|_| 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_static_payload_loads_nothing() {
        assert_eq!(shared_libraries(teu_fixtures::noop()), Ok(0));
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(has_interpreter(b"#!/bin/sh\n").is_err());
        assert!(has_interpreter(b"\x7fELF\x02\x01").is_err());
    }

    #[test]
    fn a_header_that_names_the_loader_is_found() {
        let mut file = vec![0; 0x40 + 2 * 0x38];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (file[0x20], file[0x36], file[0x38]) = (0x40, 0x38, 2);
        assert_eq!(has_interpreter(&file), Ok(false));
        file[0x40 + 0x38] = 3;
        assert_eq!(has_interpreter(&file), Ok(true));
    }

    #[test]
    fn ldd_lines_without_a_file_do_not_count() {
        let text =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(count_libraries(text), 1);
    }
}
