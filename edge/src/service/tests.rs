//! The service as its clients and its enemies see it: through real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command::{Command, Done, Orders, Refusal, desk};
use super::view::{FieldPicture, Mode, StationState};
use super::{Limits, Service, ServiceError, StationView};
use crate::config::{HealthConfig, HttpConfig};

/// Long enough for a busy machine, far from forever.
const PATIENCE: Duration = Duration::from_secs(20);

struct Place {
    service: Service,
    view: Arc<StationView>,
    orders: Orders,
    start: Instant,
}

impl Place {
    fn new() -> Self {
        Self::with(Limits::default(), |_| {})
    }

    fn with(limits: Limits, change: impl FnOnce(&mut HttpConfig)) -> Self {
        let view = StationView::new(
            HealthConfig::default(),
            Box::new(|text| text.counter("leuko_test_total", "Of the test.", 41)),
        );
        Self::showing(view, limits, change)
    }

    fn showing(view: StationView, limits: Limits, change: impl FnOnce(&mut HttpConfig)) -> Self {
        let (view, start) = (Arc::new(view), Instant::now());
        let mut http = HttpConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            hosts: vec!["station.local".to_owned()],
            ..HttpConfig::default()
        };
        change(&mut http);
        let (desk, orders) = desk();
        let service = Service::start(&http, limits, Arc::clone(&view), desk, start).unwrap();
        Self {
            service,
            view,
            orders,
            start,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.service.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The whole answer to these bytes.
    fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        Answer(rest_of(&mut stream))
    }

    fn get(&self, path: &str) -> Answer {
        self.send(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
    }

    fn post(&self, headers: &str, body: &str) -> Answer {
        post_to(self.service.address(), headers, body)
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn request_of(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /api/command HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// All that comes until the other side closes; a reset is an end as well.
fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

struct Answer(String);

impl Answer {
    /// 0 when there is no answer.
    fn status(&self) -> u16 {
        let words = self.0.split(' ').nth(1);
        words.map_or(0, |status| status.parse().unwrap())
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.body()).unwrap_or_else(|_| panic!("{}", self.0))
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

#[test]
fn every_page_is_there_with_its_note_and_its_locks() {
    let place = Place::new();
    for (path, kind, content) in [
        (
            "/",
            "text/html",
            "For research use only. Not for use in diagnostic procedures.",
        ),
        ("/station.js", "text/javascript", "/api/state"),
        ("/station.css", "text/css", "#note"),
        ("/healthz", "text/plain", "alive"),
        (
            "/metrics",
            "text/plain; version=0.0.4",
            "leuko_test_total 41",
        ),
        (
            "/api/state",
            "application/json",
            crate::count::RESEARCH_NOTE,
        ),
    ] {
        let answer = place.get(path);
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.body().contains(content), "{path}");
        for header in [
            &format!("content-type: {kind}"),
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'self';",
            "cache-control: no-store",
        ] {
            assert!(answer.0.contains(header), "{path} {header}\n{}", answer.0);
        }
    }
    let page = include_str!("page/index.html");
    assert!(page.contains(crate::count::RESEARCH_NOTE));
    // What the policy forbids would not run: nothing inline.
    assert!(!page.contains("<style") && !page.contains("onclick") && !page.contains("<script>"));
}

#[test]
fn nothing_else_is_there() {
    let place = Place::new();
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/station.js/../../Cargo.toml",
        "/page/index.html",
        "//etc/passwd",
        "/api",
        "/api/state/",
        "/\u{0}",
    ] {
        let status = place.get(path).status();
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    for request in [
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "DELETE /api/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /api/command HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(place.send(request.as_bytes()).status(), 405, "{request}");
    }
}

#[test]
fn a_name_that_is_not_the_stations_is_refused() {
    let place = Place::new();
    for (line, headers, expected) in [
        ("/healthz", "Host: localhost", 200),
        ("/healthz", "Host: station.local:8080", 200),
        ("/healthz", "Host: 10.1.2.3", 200),
        ("http://localhost/healthz", "Host: localhost", 200),
        ("/healthz", "Host: evil.example", 421),
        ("/field.jpg", "Host: evil.example", 421),
        ("/no/such/page", "Host: evil.example", 421),
        ("http://evil.example/healthz", "Host: localhost", 421),
        ("http://localhost/healthz", "Host: evil.example", 421),
        ("/healthz", "Accept: */*", 400),
        ("/healthz", "Host: localhost\r\nHost: evil.example", 400),
        ("/healthz", "Host: \u{e9}", 400),
    ] {
        let request = format!("GET {line} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        let answer = place.send(request.as_bytes());
        assert_eq!(answer.status(), expected, "{line} {headers}\n{}", answer.0);
    }
}

#[test]
fn what_is_no_request_is_refused_and_the_next_one_served() {
    let place = Place::with(short(), |_| {});
    let long = "x".repeat(100_000);
    for request in [
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {long}\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            "A: b\r\n".repeat(2000)
        ),
    ] {
        let mut stream = place.connect();
        // The service may close before all of it is sent.
        let _ = stream.write_all(request.as_bytes());
        let status = Answer(rest_of(&mut stream)).status();
        assert!(status == 0 || (400..500).contains(&status), "{status}");
    }
    assert_eq!(place.get("/healthz").status(), 200);
}

#[test]
fn a_command_reaches_the_station_and_its_answer_the_page() {
    let place = Place::new();
    let address = place.service.address();
    let cases: [(Result<Done, Refusal>, u16, &str); 5] = [
        (
            Ok(Done {
                case: Some("c-1".to_owned()),
                message: "signed".to_owned(),
            }),
            200,
            "signed",
        ),
        (
            Err(Refusal::NotNow("no case is open".to_owned())),
            409,
            "no case is open",
        ),
        (
            Err(Refusal::NotFound("no cell 7".to_owned())),
            404,
            "no cell 7",
        ),
        (Err(Refusal::Disk("disk full".to_owned())), 507, "disk full"),
        (
            Err(Refusal::Invalid("no class x".to_owned())),
            422,
            "no class x",
        ),
    ];
    for (given, status, words) in cases {
        let answer = thread::scope(|scope| {
            let page =
                scope.spawn(move || post_to(address, JSON, r#"{"do":"sign","who":"Dr. A"}"#));
            let order = place.orders.wait(PATIENCE).unwrap();
            let who = "Dr. A".to_owned();
            assert_eq!(order.command(), &Command::Sign { who });
            order.answer(given);
            page.join().unwrap()
        });
        assert_eq!(answer.status(), status);
        assert!(answer.body().contains(words), "{}", answer.0);
    }
}

#[test]
fn what_is_no_command_never_reaches_the_station() {
    let place = Place::new();
    let big = format!(
        r#"{{"do":"note","who":"a","text":"{}"}}"#,
        "x".repeat(70_000)
    );
    let long = format!(
        r#"{{"do":"note","who":"a","text":"{}"}}"#,
        "x".repeat(2_000)
    );
    let deep = format!(r#"{{"do":"note","who":{}"#, "[".repeat(60_000));
    for (headers, body, status) in [
        (JSON, "", 400),
        (JSON, "{", 400),
        (JSON, &deep, 400),
        (JSON, r#"{"do":"erase"}"#, 422),
        (JSON, r#"{"do":"sign","who":""}"#, 422),
        (JSON, &long, 422),
        (JSON, &big, 413),
        ("Content-Type: text/plain\r\n", NEW_FIELD, 415),
        (
            "Content-Type: application/x-www-form-urlencoded\r\n",
            NEW_FIELD,
            415,
        ),
        ("", NEW_FIELD, 415),
    ] {
        let answer = place.post(headers, body);
        assert_eq!(answer.status(), status, "{}", answer.0);
        assert!(!answer.error().is_empty());
    }
    for origin in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: http://localhost\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        let answer = place.post(&format!("{JSON}{origin}"), NEW_FIELD);
        assert_eq!(answer.status(), 403, "{origin}");
    }
    let twice = format!("{JSON}Origin: http://localhost\r\nOrigin: http://localhost\r\n");
    assert_eq!(place.post(&twice, NEW_FIELD).status(), 400);
    assert!(place.orders.take().is_none());
}

#[test]
fn a_page_of_the_station_may_command_it() {
    let place = Place::new();
    let address = place.service.address();
    let answer = thread::scope(|scope| {
        let headers = format!("{JSON}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
        let page = scope.spawn(move || post_to(address, &headers, NEW_FIELD));
        let order = place.orders.wait(PATIENCE).unwrap();
        order.answer(Ok(Done::default()));
        page.join().unwrap()
    });
    assert_eq!(answer.status(), 200);
}

const NEW_FIELD: &str = r#"{"do":"new_field"}"#;

fn post_to(address: SocketAddr, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(request_of(headers, body).as_bytes())
        .unwrap();
    Answer(rest_of(&mut stream))
}

#[test]
fn a_station_that_does_not_answer_is_not_waited_for() {
    let limits = Limits {
        command_within: Duration::from_millis(200),
        ..Limits::default()
    };
    let place = Place::with(limits, |_| {});
    let post = || place.post(JSON, NEW_FIELD);
    // Nobody takes the commands: some wait and are given up, the queue fills, the rest is refused.
    let statuses: Vec<u16> = (0..10).map(|_| post().status()).collect();
    assert_eq!(statuses[..8], [504; 8]);
    assert_eq!(statuses[8..], [503; 2]);
    // The answer to somebody who has gone hurts nobody.
    while let Some(order) = place.orders.take() {
        order.answer(Ok(Done::default()));
    }
    let Place {
        service, orders, ..
    } = place;
    drop(orders);
    let answer = post_to(service.address(), JSON, NEW_FIELD);
    assert_eq!(
        (answer.status(), answer.error().as_str()),
        (503, "the station takes no commands")
    );
}

/// Limits that a test can wait for, and that a busy machine keeps.
fn short() -> Limits {
    Limits {
        head_within: Duration::from_secs(1),
        request_within: Duration::from_secs(1),
        connection_for: Duration::from_secs(2),
        linger: Duration::from_millis(500),
        ..Limits::default()
    }
}

#[test]
fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let place = Place::with(short(), |_| {});
    let slow: Vec<TcpStream> = [
        "",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA:",
        "POST /api/command HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
        // Served at once, then idle.
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    .iter()
    .map(|beginning| {
        let mut stream = place.connect();
        stream.write_all(beginning.as_bytes()).unwrap();
        stream
    })
    .collect();
    // All of them hang, and this one is served.
    assert_eq!(place.get("/healthz").status(), 200);
    let begun = Instant::now();
    let answers = slow
        .into_iter()
        .map(|mut stream| Answer(rest_of(&mut stream)).status());
    let answers: Vec<u16> = answers.collect();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!([0, 408].contains(&answers[0]), "{answers:?}");
    assert_eq!(answers[3..], [408, 200], "{answers:?}");
}

#[test]
fn who_does_not_take_his_answer_loses_his_seat() {
    let place = Place::with(short(), |http| {
        (http.connections_max, http.connections_per_address_max) = (1, 1);
    });
    place.view.publish_picture(FieldPicture {
        sequence: 1,
        jpeg: vec![0; 64 << 20].into(),
        coverage: "".into(),
    });
    // Somebody looks already, so that it is sent at once.
    place.view.picture(place.start.elapsed());
    let mut greedy = place.connect();
    greedy
        .write_all(b"GET /field.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let begun = Instant::now();
    while place.get_or_refused("/healthz") != 200 {
        assert!(begun.elapsed() < PATIENCE, "the seat is never given back");
        thread::sleep(Duration::from_millis(50));
    }
}

impl Place {
    /// The status, or 0 when the connection was refused a seat.
    fn get_or_refused(&self, path: &str) -> u16 {
        let mut stream = self.connect();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut bytes = Vec::new();
        let sent = stream.write_all(request.as_bytes());
        let _ = sent.and_then(|()| stream.read_to_end(&mut bytes));
        Answer(String::from_utf8_lossy(&bytes).into_owned()).status()
    }
}

#[test]
fn a_thousand_connections_are_bounded_and_leave_the_service_alive() {
    let place = Place::with(Limits::default(), |http| {
        (http.connections_max, http.connections_per_address_max) = (20, 20);
    });
    let mut open = std::collections::VecDeque::new();
    for _ in 0..1000 {
        open.push_back(place.connect());
        // Fewer at once than a process may have files.
        if open.len() > 200 {
            open.pop_front();
        }
    }
    drop(open);
    let begun = Instant::now();
    let metrics = loop {
        let answer = place.get_or_refused("/healthz");
        if answer == 200 {
            break place.get("/metrics");
        }
        assert!(begun.elapsed() < PATIENCE, "never served again");
        thread::sleep(Duration::from_millis(50));
    };
    let value = |name: &str| -> u64 {
        let line = metrics
            .body()
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(
        value("leuko_http_refused_connections_total ") >= 100,
        "{}",
        metrics.0
    );
    assert!(value("leuko_http_connections ") <= 20);
}

#[test]
fn the_picture_is_sent_once_until_there_is_a_new_one() {
    let place = Place::new();
    assert_eq!(place.get("/field.jpg").status(), 404);
    assert_eq!(place.get("/coverage.svg").status(), 404);
    assert!(place.view.picture_wanted(place.start.elapsed()));
    let picture = |sequence, text: &str| {
        let jpeg = Arc::from(text.as_bytes());
        place.view.publish_picture(FieldPicture {
            sequence,
            jpeg,
            coverage: format!("<svg>{text}</svg>").into(),
        });
    };
    let known = |tag: &str| {
        let request = format!(
            "GET /field.jpg HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n"
        );
        let answer = place.send(request.as_bytes());
        (answer.status(), answer.body().to_owned())
    };
    picture(7, "first");
    assert_eq!(known("\"6\""), (200, "first".to_owned()));
    assert_eq!(known("\"7\""), (304, String::new()));
    picture(8, "second");
    let map = place.get("/coverage.svg?8");
    assert_eq!((map.status(), map.body()), (200, "<svg>second</svg>"));
    assert_eq!(known("\"7\""), (200, "second".to_owned()));
}

#[test]
fn ready_and_state_follow_the_station() {
    let place = Place::new();
    assert_eq!(place.get("/readyz").status(), 503);
    place.view.publish(StationState {
        mode: Mode::Running,
        ..StationState::default()
    });
    let answer = place.get("/readyz");
    assert_eq!(
        (answer.status(), answer.body()),
        (503, "no frame captured yet\n")
    );
    place.view.capture().done(place.start.elapsed());
    place.view.analysis().done(place.start.elapsed());
    assert_eq!(place.get("/readyz").status(), 200);
    let state = place.get("/api/state").json();
    assert_eq!(
        (&state["ready"], &state["mode"]),
        (&json!(true), &json!("running"))
    );
    assert_eq!(state["case"], Value::Null);
    let metrics = place.get("/metrics");
    assert!(
        metrics.body().contains("\nleuko_ready 1\n"),
        "{}",
        metrics.0
    );
}

#[test]
fn safe_mode_says_why() {
    let reason = "configuration x.toml: line 3 column 1: unknown field `what`";
    let place = Place::showing(StationView::safe_mode(reason), Limits::default(), |_| {});
    let state = place.get("/api/state").json();
    assert_eq!(state["mode"], json!("safe"));
    let banner = state["banners"][0]["text"].as_str().unwrap();
    assert!(
        banner.contains(reason) && banner.contains("counts nothing"),
        "{banner}"
    );
    assert_eq!(place.get("/").status(), 200);
    assert_eq!(place.get("/healthz").status(), 200);
    let answer = place.get("/readyz");
    assert_eq!(
        (answer.status(), answer.body()),
        (503, "mode is safe, expected running\n")
    );
}

#[test]
fn an_address_that_is_taken_is_named_and_free_again_after_the_stop() {
    let place = Place::with(short(), |_| {});
    let address = place.service.address();
    let start = || {
        let http = HttpConfig {
            address,
            ..HttpConfig::default()
        };
        let (desk, _orders) = desk();
        let view = Arc::new(StationView::safe_mode("test"));
        Service::start(&http, Limits::default(), view, desk, Instant::now())
    };
    let Err(error @ ServiceError::Listen { .. }) = start() else {
        panic!("two services at one address");
    };
    let words = error.to_string();
    assert!(
        words.starts_with(&format!("http.address {address}: cannot be listened at: ")),
        "{words}"
    );
    // One that is idle and one that hangs do not keep it from stopping.
    let _idle = place.connect();
    let mut half = place.connect();
    half.write_all(b"GET / HT").unwrap();
    let begun = Instant::now();
    place.service.stop();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    start().unwrap().stop();
}
