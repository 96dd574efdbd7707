//! What faults on the way to an engine, and answers that no engine gives, become.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stuut_cache::cache::shared::{Appended, Engine as _, EngineError, Era, Occupied};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{
    LEASE, NAME, ROOM, beat, client, client_at, each_operation, entry, manual, moved, salt,
};
use crate::support::{Engine, EngineProgram, Fault, Relay, wait_until};

const OTHER: &str = "stuut1:{k2}:e";

#[tokio::test]
async fn a_silent_connection_is_replaced_after_one_beat_or_five_look_ups() {
    let test = "a_silent_connection_is_replaced_after_one_beat_or_five_look_ups";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    for fault in [Fault::Pause, Fault::BlackHole] {
        let relay = Relay::start(engine.port()).await;
        let clock = manual();
        let client = client_at(&clock, &[relay.url()], "");
        each_operation(&client, "k1").await.expect("all of them");
        assert_eq!(relay.connections(), 3);
        relay.set(fault);
        for connections in [3, 3, 3, 3, 4] {
            let answer = moved(&clock, client.look_up(NAME, None, 1, ROOM)).await;
            assert!(matches!(answer, Err(EngineError::Timeout(_))), "{answer:?}");
            wait_until("the attempts are made", async || {
                relay.connections() >= connections
            })
            .await;
            assert_eq!(relay.connections(), connections, "{fault:?}");
        }
        relay.set(Fault::None);
        wait_until("the look-ups work", async || {
            clock.advance_waiters(Duration::from_secs(1));
            client.look_up(NAME, None, 1, ROOM).await.is_ok()
        })
        .await;

        let before = relay.connections();
        relay.set(fault);
        let answer = moved(&clock, client.beat(beat(3, None, 1))).await;
        assert!(matches!(answer, Err(EngineError::Timeout(_))), "{answer:?}");
        wait_until("a beat is enough", async || relay.connections() > before).await;
        relay.set(Fault::None);
        wait_until("all is well", async || {
            clock.advance_waiters(Duration::from_secs(1));
            each_operation(&client, "k1").await.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn a_read_of_the_log_does_not_outlast_the_connection_of_a_lost_beat() {
    let test = "a_read_of_the_log_does_not_outlast_the_connection_of_a_lost_beat";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let relay = Relay::start(engine.port()).await;
    let clock = manual();
    let other = client(&engine.url(), "");
    let era = other.beat(beat(1, None, 1)).await.expect("a beat").era;
    let client = Arc::new(client_at(&clock, &[relay.url()], ""));
    client.beat(beat(1, None, 1)).await.expect("a beat");
    let reader = Arc::clone(&client);
    let reading = tokio::spawn(async move { reader.items_after(0, Duration::from_hours(1)).await });
    let blocked = async |count: &str| engine.ask::<String>("INFO clients").await.contains(count);
    wait_until("the reader waits", async || {
        blocked("blocked_clients:1").await
    })
    .await;

    relay.set(Fault::BlackHole);
    other
        .append(era, Bytes::from_static(b"lost"))
        .await
        .expect("an answer");
    wait_until("the engine has answered", async || {
        blocked("blocked_clients:0").await
    })
    .await;
    moved(&clock, client.beat(beat(2, None, 1)))
        .await
        .expect_err("no answer");
    relay.set(Fault::None);
    wait_until("the read is sent again", async || reading.is_finished()).await;
    let items = reading.await.expect("no panic").expect("items");
    assert_eq!(items.len(), 1);
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_that_of_the_next_request() {
    let test = "a_late_answer_is_not_taken_for_that_of_the_next_request";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let relay = Relay::start(engine.port()).await;
    let clock = manual();
    let client = client_at(&clock, &[relay.url()], "");
    client
        .store(NAME, entry(1, 5, 1), LEASE * 10, 1)
        .await
        .expect("an answer");
    relay.set(Fault::Pause);
    moved(&clock, client.look_up(NAME, None, 1, ROOM))
        .await
        .expect_err("no answer");
    relay.set(Fault::None);
    let found = client
        .look_up(OTHER, None, 1, ROOM)
        .await
        .expect("an answer");
    assert_eq!(found.entry, Err(Occupied::Ours));
    let found = client
        .look_up(NAME, None, 1, ROOM)
        .await
        .expect("an answer");
    assert_eq!(found.entry, Ok(entry(1, 5, 1)));

    relay.set(Fault::Delay(Duration::from_millis(3)));
    each_operation(&client, "k3")
        .await
        .expect("slow is no fault");
}

#[tokio::test]
async fn a_request_whose_answer_is_cut_is_sent_again() {
    let test = "a_request_whose_answer_is_cut_is_sent_again";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let relay = Relay::start(engine.port()).await;
    let client = client(&relay.url(), "");
    each_operation(&client, "k1").await.expect("all of them");
    client
        .store(NAME, entry(1, 5, 1), LEASE * 10, 1)
        .await
        .expect("an answer");
    for place in [0, 1, 4, 9, 30] {
        let mut before = relay.connections();
        let mut is_again = async || {
            let is_new = relay.connections() > before && relay.fault() == Fault::None;
            before = relay.connections();
            is_new
        };
        relay.set(Fault::CutAfter(place));
        let found = client
            .look_up(NAME, None, 1, ROOM)
            .await
            .expect("an answer");
        assert_eq!(found.entry, Ok(entry(1, 5, 1)));
        assert!(is_again().await, "{place}");
        relay.set(Fault::CutAfter(place));
        let reply = client.beat(beat(1, None, 9)).await.expect("a beat");
        assert_eq!(reply.era, Era([1; 16]));
        assert!(is_again().await, "{place}");
    }
    // An item is then appended twice: applying it again does no harm.
    relay.set(Fault::CutAfter(0));
    let appended = client.append(Era([1; 16]), Bytes::from_static(b"x")).await;
    let last = client.beat(beat(1, None, 9)).await.expect("a beat").last;
    assert_eq!(
        (appended.expect("an answer"), last),
        (Appended::At(last), 3)
    );
}

#[tokio::test]
async fn a_flipped_bit_ends_in_an_error_or_in_the_bytes_of_an_entry() {
    let test = "a_flipped_bit_ends_in_an_error_or_in_the_bytes_of_an_entry";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let relay = Relay::start(engine.port()).await;
    // A flipped length may leave the rest of an answer missing.
    let clock = manual();
    let client = client_at(&clock, &[relay.url()], "timeout = \"200ms\"");
    let stored = entry(1, 5, 1);
    let life = LEASE * 100;
    client
        .store(NAME, stored.clone(), life, 1)
        .await
        .expect("an answer");
    for place in 0.. {
        wait_until("the look-ups work", async || {
            // Without this, each connection would be one of many that did not last.
            clock.advance(Duration::from_secs(2));
            let found = client.look_up(NAME, Some(salt(9)), 1, ROOM).await;
            found.is_ok_and(|found| found.entry.as_ref() == Ok(&stored))
        })
        .await;
        relay.set(Fault::Flip(place));
        let Ok(found) = client.look_up(NAME, None, 1, ROOM).await else {
            relay.set(Fault::None);
            continue;
        };
        if relay.fault() != Fault::None {
            // The answer is shorter.
            assert!(place > stored.len());
            break;
        }
        // Only a seal can tell, or the caller.
        let flipped = found.entry.expect("an entry, as is stored");
        assert_eq!(flipped.len(), stored.len());
    }
}

/// A server that accepts a login, and answers everything else with these bytes; its URL, and the
/// number of connections so far.
async fn answering(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answer_all(socket, answer));
        }
    });
    (format!("redis://{address}"), connections)
}

async fn answer_all(socket: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let length = |line: &str| line[1..].trim().parse::<usize>().expect("a length");
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = Vec::new();
        for _ in 0..length(&line) {
            line.clear();
            socket.read_line(&mut line).await?;
            let mut word = vec![0; length(&line) + 2];
            socket.read_exact(&mut word).await?;
            words.push(word);
        }
        let is_login = words[0] == b"HELLO\r\n";
        socket
            .write_all(if is_login { b"%0\r\n" } else { answer })
            .await?;
    }
}

#[tokio::test]
async fn each_answer_that_is_none_has_its_error_and_its_consequence() {
    const REFUSED: &str = "refused";
    const UNEXPECTED: &str = "unexpected answer";
    const NO_ANSWER: &str = "no answer";
    for (answer, kind, is_replaced) in [
        (
            &b"-LOADING Redis is loading the dataset in memory\r\n"[..],
            REFUSED,
            false,
        ),
        (b"-OOM command not allowed\r\n", REFUSED, false),
        (b"-NOPERM no permissions\r\n", REFUSED, false),
        (b"-CLUSTERDOWN the cluster is down\r\n", REFUSED, false),
        (b"-READONLY no writes here\r\n", REFUSED, true),
        // Redis 6.2 has the error of a script's command inside another.
        (
            b"-ERR Error running script (f_1): @user_script: 1: -READONLY no\r\n",
            REFUSED,
            true,
        ),
        (b"-MASTERDOWN the link is down\r\n", REFUSED, true),
        (b"-UNBLOCKED by a change of role\r\n", REFUSED, true),
        (b"-NOAUTH Authentication required.\r\n", REFUSED, true),
        (b"+OK\r\n", UNEXPECTED, true),
        (b"_\r\n", UNEXPECTED, true),
        (b":0\r\n", UNEXPECTED, true),
        (b"*0\r\n", UNEXPECTED, true),
        // Of another call, or of none.
        (b"*3\r\n:7\r\n*2\r\n:1\r\n:1\r\n+ours\r\n", UNEXPECTED, true),
        (
            b"*3\r\n$-1\r\n*2\r\n:1\r\n:1\r\n+ours\r\n",
            UNEXPECTED,
            true,
        ),
        (b"!garbage\r\n", UNEXPECTED, true),
        // More than there is memory for.
        (
            b"*1000000000\r\n*1000000000\r\n$1000000000\r\n",
            NO_ANSWER,
            false,
        ),
    ] {
        let (url, connections) = answering(answer).await;
        let clock = manual();
        let client = client_at(&clock, &[url], "");
        let look_up = async || {
            let look_up = client.look_up(NAME, None, 1, ROOM);
            let found = match kind {
                NO_ANSWER => moved(&clock, look_up).await,
                _ => look_up.await,
            };
            found.expect_err("no answer is right")
        };
        wait_until("the connections are made", async || {
            connections.load(Ordering::SeqCst) == 3
        })
        .await;
        let error = look_up().await;
        let text = String::from_utf8_lossy(answer);
        assert!(error.to_string().starts_with(kind), "{text}: {error}");
        look_up().await;
        let is_new = connections.load(Ordering::SeqCst) > 3;
        assert_eq!(is_new, is_replaced, "{text}: {error}");
    }
}
