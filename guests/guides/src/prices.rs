//! From `docs/guests.md`.

use stockade_guest::{Level, emit, host_call, log, progress, work};

/// Emits the price of each article that the server knows, and returns how many there are.
#[work]
pub fn prices(articles: Vec<String>) -> u32 {
    let mut known = 0;
    for (done, article) in articles.iter().enumerate() {
        progress(done as u64, articles.len() as u64);
        match host_call::<_, Option<u64>>("price_of", (article,)) {
            Ok(Some(price)) => {
                emit(&(article, price)); // waits until it is taken
                known += 1;
            }
            Ok(None) => log(Level::Info, format!("no price of {article}")),
            Err(error) => log(Level::Error, error.to_string()),
        }
    }
    known
}
