//! An echo on tokio, which ours is held against: a task for each connection, with a buffer of its own.
//!
//! Which runtime it is on, and how large the buffers are, is for the bench to say.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Accepts, and serves. `work` is done for each message.
pub(crate) async fn accept(
    listener: TcpListener,
    buffer: usize,
    work: impl Fn() + Copy + Send + 'static,
) -> io::Result<()> {
    loop {
        let (mut stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut buf = vec![0; buffer];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                work();
                if stream.write_all(&buf[..n]).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// The runtime of one thread.
#[allow(dead_code)] // Not in every bench.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().build()
}

/// Serves on that, without work.
#[allow(dead_code)] // Not in every bench.
pub(crate) fn serve(listener: &std::net::TcpListener, buffer: usize) -> io::Result<()> {
    runtime()?.block_on(async {
        accept(TcpListener::from_std(listener.try_clone()?)?, buffer, || ()).await
    })
}
