//! The load generator counts right: against a server that answers a known mix, whatever way it cuts its answers.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use std::collections::BTreeMap;
use std::time::Duration;

use carillon_bench::{Kind, Pace, Plan, Share, Tally, Target, Template, drive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers by the last digit of the number written to: 0-6 accepted (in two pieces), 7 short of money, 8 too many and
/// the connection closed, 9 nothing and the connection closed.
async fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    loop {
        let (head, length) = loop {
            let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            if let Some(head) = head {
                let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
                let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
                let length: usize = length.parse().unwrap();
                if bytes.len() >= head + length {
                    break (head, length);
                }
            }
            if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                return;
            }
        };
        let body: Vec<u8> = bytes.drain(..head + length).skip(head).collect();
        let number = body.windows(6).position(|window| window == b"+49151").unwrap();
        match body[number + 13] {
            b'0'..=b'6' => {
                stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Le").await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(b"ngth: 2\r\n\r\n{}").await.unwrap();
            }
            b'7' => stream.write_all(b"HTTP/1.1 402 Payment Required\r\nContent-Length: 5\r\n\r\nshort").await.unwrap(),
            b'8' => {
                let answer = b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                return stream.write_all(answer).await.unwrap();
            }
            _ => return,
        }
    }
}

async fn tally(pace: Pace, limit: u64, shares: &[(Kind, u64)]) -> Tally {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::new(&format!("http://{}", listener.local_addr().unwrap()), "key").unwrap();
    tokio::spawn(async move {
        loop {
            tokio::spawn(serve(listener.accept().await.unwrap().0));
        }
    });
    let shares = shares
        .iter()
        .cloned()
        .map(|(kind, percent)| Share { template: Template::new(&target, kind, "hello"), percent })
        .collect();
    let lasts = Duration::from_secs(3600); // the limit ends it
    drive(&target, Plan { connections: 4, pace, lasts, limit: Some(limit), first_ticket: 0, shares }).await.unwrap()
}

#[tokio::test]
async fn every_answer_is_counted_once() {
    for pace in [Pace::Closed, Pace::Rate(1e6)] {
        let tally = tally(pace, 1000, &[(Kind::Normal, 100)]).await;
        let answers = &tally.kinds[&Kind::Normal];
        assert_eq!(answers.statuses, BTreeMap::from([(202, 700), (402, 100), (429, 100)]));
        assert_eq!((answers.broken, answers.latency.count()), (100, 700));
        assert_eq!((tally.accepted(), tally.failed()), (700, 300));
        assert!(tally.latency().max() <= tally.elapsed);
        assert!(tally.first_failure.is_some());
    }
}

#[tokio::test]
async fn messages_are_counted_by_the_recipients_of_a_request() {
    // Ten recipients each: the first number of every request ends in 0.
    let tally = tally(Pace::Closed, 50, &[(Kind::Batch(10), 100)]).await;
    assert_eq!((tally.accepted(), tally.failed()), (500, 0));
    assert_eq!(tally.first_failure, None);
}

#[tokio::test]
async fn each_kind_is_counted_by_its_own_success() {
    // This server answers 202 to a one-time code too, whose success is 200: none of them counts.
    let tally = tally(Pace::Closed, 200, &[(Kind::Express, 50), (Kind::Otp, 50)]).await;
    let answered = |kind: Kind| tally.kinds[&kind].statuses.values().sum::<u64>() + tally.kinds[&kind].broken;
    assert_eq!((answered(Kind::Express), answered(Kind::Otp)), (100, 100));
    assert_eq!(tally.kinds[&Kind::Otp].latency.count(), 0);
    assert_eq!(tally.accepted() + tally.failed(), 200);
}
