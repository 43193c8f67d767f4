//! Media in the data folder: files named by their SHA-256, written once, never executable.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use carillon_store::media::Digest;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Octets;

/// Octets read at once.
const PIECE: usize = 64 * 1024;

/// The folder of files.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    /// Held from the look at the rows that share octets to the deed: else an upload could find octets that are being taken away.
    pub(super) gate: tokio::sync::Mutex<()>,
}

impl Disk {
    /// Inside the data folder; made when the first file comes.
    pub(super) fn new(data: &Path) -> Disk {
        Disk { folder: data.join("media"), gate: tokio::sync::Mutex::default() }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        self.folder.join(&name[..2]).join(name)
    }

    pub(super) async fn read(&self, digest: &Digest, first: u64, last: u64) -> io::Result<Option<Octets>> {
        let mut file = match tokio::fs::File::open(self.path(digest)).await {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        file.seek(io::SeekFrom::Start(first)).await?;
        let rest = file.take((last + 1).saturating_sub(first));
        Ok(Some(Box::pin(futures_util::stream::try_unfold(rest, async |mut rest| {
            let mut piece = BytesMut::with_capacity(PIECE);
            let read = rest.read_buf(&mut piece).await?;
            Ok((read > 0).then(|| (piece.freeze(), rest)))
        }))))
    }

    pub(super) async fn write(&self, digest: &Digest, octets: Bytes) -> io::Result<()> {
        let path = self.path(digest);
        let written = tokio::task::spawn_blocking(move || if path.exists() { Ok(()) } else { write(&path, &octets) });
        written.await.map_err(io::Error::other).flatten()
    }

    pub(super) async fn erase(&self, digest: &Digest) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(digest)).await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Written beside its place and moved there whole and durable: a crash leaves no half of a file under a digest's name.
fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("a file's path was joined to its folder");
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let draft = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let done = file.write_all(octets).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
    if done.is_err() {
        let _ = fs::remove_file(&draft);
        return done;
    }
    fs::File::open(folder)?.sync_all()
}
