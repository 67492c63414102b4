//! tokio-tungstenite on one thread: `/all` gets what anyone there says, any other path an echo. An
//! argument is the size of its read buffer, in the place of its default.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Result};

type All = Rc<RefCell<HashMap<u64, UnboundedSender<Message>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    let all = All::default();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            for id in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(serve(stream, id, all.clone()));
            }
        })
        .await;
}

async fn serve(stream: TcpStream, id: u64, all: All) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    #[allow(clippy::result_large_err)]
    let look = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let mut config = WebSocketConfig::default();
    if let Some(bytes) = std::env::args().nth(1) {
        config = config.read_buffer_size(bytes.parse().unwrap());
    }
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, look, Some(config));
    let mut ws = accepted.await?;
    if path != "/all" {
        while let Some(message) = ws.next().await {
            let message = message?;
            if message.is_text() || message.is_binary() {
                ws.send(message).await?;
            }
        }
        return Ok(());
    }
    let (sender, mut receiver) = unbounded_channel();
    all.borrow_mut().insert(id, sender);
    loop {
        tokio::select! {
            message = ws.next() => match message {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    for sender in all.borrow().values() {
                        let _ = sender.send(message.clone());
                    }
                }
                Some(Ok(_)) => {}
                _ => break,
            },
            Some(message) = receiver.recv() => ws.send(message).await?,
        }
    }
    all.borrow_mut().remove(&id);
    Ok(())
}
