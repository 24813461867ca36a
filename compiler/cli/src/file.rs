//! Files in and out: mapped reading, and writing that leaves nothing half-written behind.

use crate::failure::Failure;
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Maps a file. An empty file gives no bytes.
pub fn read(path: &Path) -> Result<Bytes, Failure> {
    let fail = |e: std::io::Error| Failure::io("read", path, &e);
    let file = File::open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if meta.is_dir() {
        return Err(Failure::usage(format!("cannot read {}: it is a folder", path.display())));
    }
    if !meta.is_file() {
        // A pipe has no length and cannot be mapped.
        return std::fs::read(path).map(Bytes::from).map_err(fail);
    }
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private to this process. If another process
    // truncates the file while it is mapped the system ends us, which loses no data of ours.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
    Ok(Bytes::from_owner(map))
}

/// Writes a file: to a temporary neighbour first, then renamed, so that at no time a
/// half-written file has the name.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::io("write", path, &e);
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut temp = tempfile::Builder::new().prefix(".quadrille-").tempfile_in(folder).map_err(fail)?;
    temp.write_all(bytes).map_err(fail)?;
    // Temporary files are private; the result has the permissions any new file has.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0o644, |m| m.permissions().mode());
        temp.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(fail)?;
    }
    temp.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Largest memory this process has used so far, in bytes, where the system tells.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
