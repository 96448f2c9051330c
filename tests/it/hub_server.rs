//! A hub in miniature on 127.0.0.1: one repository, its large files on a second host, and faults on
//! demand.
//!
//! Every connection is counted and every request kept, so that a test can say what was *not* sent.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The one commit there is.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The token that opens the repository while [`State::private`] is set.
pub(crate) const TOKEN: &str = "hf_testtokenThatMustNotLeak";

/// A running server; it ends with the process.
#[derive(Clone)]
pub(crate) struct HubServer {
    /// `http://127.0.0.1:PORT`.
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

/// What the server holds and has seen.
#[derive(Default)]
pub(crate) struct State {
    /// Content of `org/name`, by file name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Whether the token is asked for.
    pub(crate) private: bool,
    /// Whether the description gives no sizes and hashes.
    pub(crate) bare: bool,
    /// The commit it claims to be at, whatever is asked for.
    pub(crate) sha: Option<String>,
    /// Names listed besides the files.
    pub(crate) listed: Vec<String>,
    /// What goes wrong: with requests whose path holds the text, so many times.
    pub(crate) faults: Vec<(&'static str, usize, Fault)>,
    /// Connections accepted by both hosts.
    pub(crate) connections: usize,
    /// Requests, in order.
    pub(crate) seen: Vec<Seen>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) on_cdn: bool,
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// This status, with these further header lines.
    Status(u16, &'static str),
    /// The body ends after so many bytes.
    Truncate(usize),
    /// One byte of the body differs.
    Flip,
    /// One byte too many, rightly announced.
    Longer,
    /// A whole file where the rest was asked for.
    WholeForRange,
    /// The wrong rest.
    OtherRange,
    /// Nothing is answered.
    Silence,
    /// The body comes in small bits.
    Slow,
}

/// What is sent back.
struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl HubServer {
    /// Starts both hosts.
    pub(crate) fn start(files: &[(&str, &[u8])]) -> Self {
        let (hub, cdn) = (listener(), listener());
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let endpoint = format!("http://{}", address(&hub));
        let cdn_at = format!("http://{}", address(&cdn));
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
        let state = State { files: files.collect(), ..State::default() };
        let server = Self { endpoint, state: Arc::new(Mutex::new(state)) };
        for (listener, on_cdn) in [(hub, false), (cdn, true)] {
            let (server, cdn_at) = (server.clone(), cdn_at.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (server, cdn_at) = (server.clone(), cdn_at.clone());
                    server.with(|state| state.connections += 1);
                    thread::spawn(move || server.serve(stream, on_cdn, &cdn_at));
                }
            });
        }
        server
    }

    /// Looks at the state, or changes it.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no test panics while it holds the state"))
    }

    /// Makes something go wrong so many times.
    pub(crate) fn fault(&self, path: &'static str, times: usize, fault: Fault) {
        self.with(|state| state.faults.push((path, times, fault)));
    }

    /// Returns the requests whose first line holds `text`.
    pub(crate) fn seen(&self, text: &str) -> Vec<Seen> {
        let seen = self.with(|state| state.seen.clone());
        seen.into_iter().filter(|seen| seen.line.contains(text)).collect()
    }

    fn serve(&self, mut stream: TcpStream, on_cdn: bool, cdn: &str) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => lines.push(line.trim().to_owned()),
            }
        }
        let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let headers =
            headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let seen = Seen { on_cdn, line: lines[0].clone(), headers };
        let fault = self.with(|state| {
            state.seen.push(seen.clone());
            let fault =
                state.faults.iter_mut().find(|fault| fault.1 > 0 && seen.line.contains(fault.0));
            fault.map(|fault| {
                fault.1 -= 1;
                fault.2
            })
        });
        if matches!(fault, Some(Fault::Silence)) {
            thread::sleep(Duration::from_secs(5));
            return;
        }
        let reply = self.with(|state| reply(state, &seen, fault, cdn));
        send(&mut stream, reply, fault, seen.line.starts_with("HEAD"));
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn send(stream: &mut TcpStream, reply: Reply, fault: Option<Fault>, head: bool) {
    let Reply { status, headers, body } = reply;
    let length = body.len();
    let top = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    );
    if stream.write_all(top.as_bytes()).is_err() || head {
        return;
    }
    let body = match fault {
        Some(Fault::Truncate(at)) => &body[..at.min(length)],
        _ => &body[..],
    };
    // The other side may be killed at any moment.
    if matches!(fault, Some(Fault::Slow)) {
        for bit in body.chunks(4 << 10) {
            if stream.write_all(bit).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    } else {
        let _ = stream.write_all(body);
    }
}

fn reply(state: &State, seen: &Seen, fault: Option<Fault>, cdn: &str) -> Reply {
    let plain =
        |status, headers: &str| Reply { status, headers: headers.to_owned(), body: b"no".to_vec() };
    if let Some(Fault::Status(status, headers)) = fault {
        return plain(status, headers);
    }
    let path = seen.line.split(' ').nth(1).unwrap_or_default();
    if seen.on_cdn {
        let blob = path.trim_start_matches("/blob/").split('?').next().unwrap_or_default();
        let content = state.files.values().find(|content| sha256(content) == blob);
        return content.map_or_else(
            || plain(404, ""),
            |content| ranged(content, &format!("\"cdn-{}\"", &blob[..8]), seen, fault),
        );
    }
    let token = seen.headers.get("authorization").map(String::as_str);
    if state.private && token != Some(&format!("Bearer {TOKEN}")) {
        return plain(if token.is_some() { 403 } else { 401 }, "x-error-code: GatedRepo\r\n");
    }
    if path.starts_with("/api/models/org/name/revision/") {
        let known = ["main", COMMIT].iter().any(|r| path.contains(&format!("/revision/{r}?")));
        return if known || state.sha.is_some() { description(state) } else { plain(404, "") };
    }
    let name = path.strip_prefix(&format!("/org/name/resolve/{COMMIT}/"));
    let Some((name, content)) = name.and_then(|name| state.files.get_key_value(name)) else {
        return plain(404, "");
    };
    if is_large(name) {
        let hash = sha256(content);
        let headers = format!(
            "location: {cdn}/blob/{hash}?Signature=secret\r\nx-linked-etag: \"{hash}\"\r\n\
             x-linked-size: {}\r\nx-repo-commit: {COMMIT}\r\n",
            content.len()
        );
        return plain(302, &headers);
    }
    let mut reply = ranged(content, &format!("\"{}\"", git_blob(content)), seen, fault);
    reply.headers += &format!("x-repo-commit: {COMMIT}\r\n");
    reply
}

/// A file, or the rest of it if the validator still fits.
fn ranged(content: &[u8], etag: &str, seen: &Seen, fault: Option<Fault>) -> Reply {
    let mut body = content.to_vec();
    match fault {
        Some(Fault::Flip) => body[content.len() / 2] ^= 1,
        Some(Fault::Longer) => body.push(0),
        _ => {}
    }
    let headers = format!("etag: {etag}\r\naccept-ranges: bytes\r\n");
    let from = seen
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let fits = seen.headers.get("if-range").is_some_and(|validator| validator == etag);
    let whole = matches!(fault, Some(Fault::WholeForRange));
    let Some(mut from) = from.filter(|_| fits && !whole) else {
        return Reply { status: 200, headers, body };
    };
    if from >= body.len() {
        return Reply { status: 416, headers, body: Vec::new() };
    }
    if matches!(fault, Some(Fault::OtherRange)) {
        from -= 1;
    }
    let range = format!("content-range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
    Reply { status: 206, headers: headers + &range, body: body[from..].to_vec() }
}

fn description(state: &State) -> Reply {
    let file = |(name, content): (&String, &Vec<u8>)| {
        let mut file = serde_json::json!({ "rfilename": name });
        if !state.bare {
            file["size"] = content.len().into();
            file["blobId"] = git_blob(content).into();
            if is_large(name) {
                let hash = sha256(content);
                file["lfs"] =
                    serde_json::json!({"sha256": hash, "size": content.len(), "pointerSize": 134});
            }
        }
        file
    };
    let mut siblings: Vec<_> = state.files.iter().map(file).collect();
    siblings.extend(state.listed.iter().map(|name| serde_json::json!({ "rfilename": name })));
    let text = serde_json::json!({ "id": "org/name", "sha": state.sha.as_deref().unwrap_or(COMMIT), "siblings": siblings });
    let body = text.to_string().into_bytes();
    Reply { status: 200, headers: "content-type: application/json\r\n".into(), body }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin") || name.ends_with(".model")
}

pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// git's hash of a file.
pub(crate) fn git_blob(content: &[u8]) -> String {
    let mut hash = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
