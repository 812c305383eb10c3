//! Files of /proc.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is read at once: more than any file that is asked for here says.
const BYTES: usize = 8 << 10;

/// What a file says.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    text(File::open(path)?)
}

/// The same of one that is open.
///
/// In as few calls as can be: such a file has no length, so the standard library would begin with 32 bytes of it, and
/// ask the kernel twice what it does not know before. While a worker starts, this is what its host does.
pub(crate) fn text(mut file: File) -> io::Result<String> {
    let mut bytes = vec![0; BYTES];
    let mut len = 0;
    loop {
        match file.read(&mut bytes[len..])? {
            0 => break,
            more => len += more,
        }
        if len == bytes.len() {
            bytes.resize(2 * len, 0);
        }
    }
    bytes.truncate(len);
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_its_end_however_long_it_is() {
        let status = read("/proc/self/status").unwrap();
        assert!(
            status.starts_with("Name:") && status.ends_with('\n'),
            "{status}"
        );
        let long = read("/proc/self/smaps").unwrap();
        assert!(long.len() > BYTES && long.ends_with('\n'), "{}", long.len());
        assert_eq!(
            read("/proc/self/x").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
