//! A key-value server that speaks RESP, on several reactors: the command line, and what is around the server.

use std::io::{self, Write as _};
use std::sync::Arc;

use wouldblock::{Config, Server};
use wouldblock_kv::facts::Facts;
use wouldblock_kv::shard::{Shard, wall};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:6379".into());
    let reactors = std::env::args().nth(2).and_then(|it| it.parse().ok()).unwrap_or(1);
    let facts = Arc::new(Facts::new(wall(), "0".repeat(40), reactors, 64 << 20, None));
    let config = Config::default().input_max(128 << 20).output_max(32 << 20);
    let mut server = Server::with_config(reactors, config, |number, server| {
        Ok(Shard::new(number, Arc::clone(&facts), server.clone()))
    })?;
    let address = server.listen(address.as_str())?;
    writeln!(io::stdout(), "listening on {address}")?;
    server.run()
}
