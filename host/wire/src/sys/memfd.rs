//! Anonymous files: made by the host, sealed before anybody else sees them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

/// An anonymous file whose size nobody can change any more.
///
/// Whoever maps it can therefore never meet SIGBUS: a worker that wants to shrink it gets `EPERM`.
#[derive(Debug)]
pub struct SizedMemfd {
    fd: OwnedFd,
    len: usize,
}

impl SizedMemfd {
    /// A zeroed file of `len` bytes, sealed against shrinking, growing and further seals. It takes memory
    /// only as pages are touched.
    ///
    /// # Errors
    /// When the kernel has no descriptor or memory left.
    pub fn new(name: &str, len: usize) -> io::Result<Self> {
        let fd = create(name)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self { fd, len })
    }

    /// The same file once more, by a descriptor that can never be mapped or written for writing.
    ///
    /// # Errors
    /// When `/proc` is not mounted or the kernel has no descriptor left.
    pub fn reopen_read_only(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        Ok(rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// Its descriptor, for reading and writing.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Its size in bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a shared region is never empty"
    )]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl AsFd for SizedMemfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file of `bytes` that nobody, not even its maker, can change any more.
///
/// # Errors
/// When the kernel has no descriptor or memory left.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(create(name)?);
    file.write_all(bytes)?;
    let fd = OwnedFd::from(file);
    seal_all(&fd)?;
    Ok(fd)
}

/// An empty, unsealed file, for a process of ours to write a result of unknown length into.
///
/// # Errors
/// When the kernel has no descriptor left.
pub fn unsealed(name: &str) -> io::Result<OwnedFd> {
    create(name)
}

/// Makes the bytes of a file that [`unsealed`] made, by now and for good, what they are. Whoever could write to
/// it must be gone. Returns its length.
///
/// # Errors
/// When somebody has it mapped for writing.
pub fn seal(fd: &OwnedFd) -> io::Result<u64> {
    seal_all(fd)?;
    // Never negative.
    Ok(rustix::fs::fstat(fd)?.st_size as u64)
}

/// More than once where somebody still holds a page: nobody has the file who could write to it, so it is the kernel itself,
/// which moves memory, and which waits for that for a fraction of a second each time.
fn seal_all(fd: &OwnedFd) -> rustix::io::Result<()> {
    const TRIES: u32 = 4;
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let mut tries = 1;
    loop {
        match rustix::fs::fcntl_add_seals(fd, all) {
            Err(Errno::BUSY) if tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

fn create(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // NOEXEC_SEAL (6.3) keeps the file from ever being executed as a program; it does not stop PROT_EXEC
    // mappings, which the artifact needs.
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sized_memfd_keeps_its_size() {
        let region = SizedMemfd::new("test", 8192).unwrap();
        assert_eq!(rustix::fs::ftruncate(&region, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&region, 1 << 20), Err(Errno::PERM));
    }

    #[test]
    fn a_read_only_descriptor_cannot_write() {
        let region = SizedMemfd::new("test", 4096).unwrap();
        let fd = region.reopen_read_only().unwrap();
        assert!(rustix::io::pwrite(&fd, b"x", 0).is_err());
    }

    #[test]
    fn a_sealed_file_keeps_its_bytes() {
        let fd = sealed("test", b"artifact").unwrap();
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
        let mut read = [0; 8];
        assert_eq!(rustix::io::pread(&fd, &mut read, 0).unwrap(), 8);
        assert_eq!(&read, b"artifact");
    }

    #[test]
    fn a_file_can_be_sealed_when_it_is_written() {
        let fd = unsealed("test").unwrap();
        assert_eq!(rustix::io::pwrite(&fd, b"state", 0), Ok(5));
        assert_eq!(seal(&fd).unwrap(), 5);
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
    }
}
