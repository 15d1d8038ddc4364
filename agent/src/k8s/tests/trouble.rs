//! What is told when not all is well: it goes on with what it has, comes back without haste, and heals.

use super::server::Trouble;
use super::*;
use crate::k8s::tally::{Ending, Kind};

fn one_pod() -> Server {
    Server::with([("namespaces", namespace("shop", None)), ("pods", pod("web-1", "shop"))])
}

#[tokio::test(start_paused = true)]
async fn a_past_that_is_gone_is_listed_anew() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    kept.server.passing("pods", [Trouble::Status(410)]);
    kept.server.hang_up();
    // Nobody watches while one goes and another comes.
    kept.server.remove("pods", "web-1");
    kept.server.put("pods", pod("web-2", "shop"));
    kept.after(5.0).await;
    assert!(kept.pod("web-2").is_some());
    kept.after(65.0).await;
    assert!(kept.is_gone("web-1"));
    assert_eq!(kept.tally.requests(Kind::Pods, Ending::Gone), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_said_within_a_watch() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    kept.server.asked("pods");
    kept.server.say("pods", r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#);
    kept.after(5.0).await;
    let asked = kept.server.asked("pods");
    assert_eq!(asked.iter().filter(|asked| asked.contains("watch")).count(), 1, "{asked:?}");
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_for_minutes_is_asked_seldom_and_found_again() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    for kind in ["pods", "namespaces"] {
        kept.server.trouble(kind, Some(Trouble::Status(503)));
    }
    kept.server.hang_up();
    kept.server.asked("pods");
    kept.after(300.0).await;
    let asked = kept.server.asked("pods").len();
    assert!((8..=30).contains(&asked), "{asked} requests in 5 min");
    assert!(!kept.is_gone("web-1"), "what is known stays");
    for kind in ["pods", "namespaces"] {
        kept.server.trouble(kind, None);
    }
    kept.server.put("pods", pod("web-2", "shop"));
    kept.after(31.0).await;
    kept.server.put("pods", pod("web-3", "shop"));
    kept.after(0.2).await;
    assert!(kept.pod("web-3").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_down_at_the_start_is_found() {
    let server = one_pod();
    server.trouble("pods", Some(Trouble::Silent));
    server.trouble("namespaces", Some(Trouble::Status(500)));
    let mut kept = Kept::start(server);
    kept.after(90.0).await;
    assert!(kept.pod("web-1").is_none());
    kept.server.trouble("pods", None);
    kept.after(60.0).await;
    assert!(kept.pod("web-1").is_some(), "namespaces are not waited for");
}

#[tokio::test(start_paused = true)]
async fn a_server_with_too_much_to_do_is_left_alone_for_as_long_as_it_says() {
    let server = one_pod();
    server.trouble("pods", Some(Trouble::Throttled(40)));
    let mut kept = Kept::start(server);
    kept.after(39.0).await;
    assert_eq!(kept.server.asked("pods").len(), 1);
    kept.server.trouble("pods", None);
    kept.after(42.0).await;
    assert!(kept.pod("web-1").is_some());
    assert_eq!(kept.tally.requests(Kind::Pods, Ending::Throttled), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_done_without_until_it_is() {
    let server = one_pod();
    for kind in ["namespaces", "nodes", "replicasets", "services", "jobs"] {
        server.trouble(kind, Some(Trouble::Status(403)));
    }
    let mut kept = Kept::start(server);
    kept.after(1.0).await;
    let web = kept.pod("web-1").expect("it is told");
    assert_eq!(web.owners.last().map(|owner| (owner.name.as_str(), owner.uid.is_none())), Some(("web", true)));
    kept.server.asked("namespaces");
    kept.after(300.0).await;
    let asked = kept.server.asked("namespaces").len();
    assert!((3..=5).contains(&asked), "{asked} requests in 5 min");
    kept.server.put("namespaces", namespace("shop", Some("false")));
    kept.server.trouble("namespaces", None);
    kept.after(100.0).await;
    assert!(kept.pod("web-1").expect("it is told").opted_out);
}

#[tokio::test(start_paused = true)]
async fn pods_that_may_not_be_listed_any_more_stay_as_they_were() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    kept.server.trouble("pods", Some(Trouble::Status(403)));
    kept.server.hang_up();
    kept.server.asked("pods");
    kept.after(300.0).await;
    assert!(!kept.is_gone("web-1"));
    let asked = kept.server.asked("pods").len();
    assert!((3..=6).contains(&asked), "{asked} requests in 5 min");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_known_is_not_waited_for() {
    let wait = |kept: &Kept| {
        kept.told.iter().rev().find_map(|fact| match fact {
            Fact::Cluster(cluster) => Some(cluster.wait_ns),
            _ => None,
        })
    };
    let server = one_pod();
    server.trouble("pods", Some(Trouble::Status(403)));
    let mut kept = Kept::start(server);
    kept.after(1.0).await;
    assert_eq!(wait(&kept), Some(0));
    kept.server.trouble("pods", None);
    kept.after(100.0).await;
    assert_eq!(wait(&kept), Some(2_000_000_000));
    kept.server.trouble("pods", Some(Trouble::Status(403)));
    kept.server.hang_up();
    kept.after(30.0).await;
    assert_eq!(wait(&kept), Some(0));
    kept.server.trouble("pods", None);
    kept.after(100.0).await;
    assert_eq!(wait(&kept), Some(2_000_000_000), "also where the watch goes on");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_no_news_and_costs_little() {
    for garbage in ["", "{", "[]", "null", "<html>", r#"{"items": 7}"#, r#"{"metadata": {}, "items": []}"#] {
        let server = one_pod();
        server.trouble("pods", Some(Trouble::Text(garbage)));
        server.trouble("namespaces", Some(Trouble::Text(garbage)));
        let mut kept = Kept::start(server);
        kept.after(120.0).await;
        assert!(kept.told.is_empty(), "{garbage}: {:?}", kept.told);
        let asked = kept.server.asked("pods").len();
        assert!((5..=20).contains(&asked), "{garbage}: {asked}");
        kept.server.trouble("pods", None);
        kept.server.trouble("namespaces", None);
        kept.after(50.0).await;
        assert!(kept.pod("web-1").is_some(), "{garbage}");
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_within_a_watch_leads_to_a_list() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    for line in ["garbage", r#"{"type":"ADDED"}"#, r#"{"type":"ADDED","object":7}"#] {
        kept.server.asked("pods");
        kept.server.say("pods", line);
        kept.after(60.0).await;
        let asked = kept.server.asked("pods");
        assert!(asked.iter().any(|asked| !asked.contains("watch")), "{line}: {asked:?}");
        assert!(asked.len() <= 4, "{line}: {asked:?}");
    }
    kept.server.put("pods", pod("web-2", "shop"));
    kept.after(0.2).await;
    assert!(kept.pod("web-2").is_some());
}

#[tokio::test(start_paused = true)]
async fn answers_without_an_end_are_cut() {
    let server = one_pod();
    server.trouble("pods", Some(Trouble::Endless));
    let mut kept = Kept::start(server);
    kept.after(3.0).await;
    let read = kept.tally.bytes(Kind::Pods);
    assert!(read > 0 && kept.tally.requests(Kind::Pods, Ending::Malformed) > 0);
    kept.server.trouble("pods", None);
    kept.after(60.0).await;
    assert!(kept.pod("web-1").is_some());
    // The same for a watch.
    kept.server.trouble("pods", Some(Trouble::Endless));
    kept.server.hang_up();
    kept.after(2.0).await;
    kept.server.trouble("pods", None);
    kept.after(60.0).await;
    kept.server.put("pods", pod("web-2", "shop"));
    kept.after(0.2).await;
    assert!(kept.pod("web-2").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_too_long_is_asked_for_in_smaller_ones() {
    let server = one_pod();
    for number in 0..100 {
        let mut large = pod(&format!("large-{number}"), "shop");
        large["metadata"]["annotations"] = json!({"large": "x".repeat(256 * 1024)});
        server.put("pods", large);
    }
    server.ignore_limits();
    let mut kept = Kept::start(server);
    kept.after(2.0).await;
    assert!((0..100).all(|number| kept.pod(&format!("large-{number}")).is_some()));
    assert!(kept.pod("large-7").expect("it is told").annotations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_is_not_asked_for_in_a_loop() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    kept.server.trouble("pods", Some(Trouble::Ended));
    kept.server.hang_up();
    kept.server.asked("pods");
    kept.after(300.0).await;
    let asked = kept.server.asked("pods").len();
    assert!((8..=40).contains(&asked), "{asked} requests in 5 min");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_is_taken_for_dead() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    kept.server.asked("pods");
    kept.after(160.0).await;
    assert_eq!(kept.server.asked("pods").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn look_ups_that_fail_say_nothing_and_those_that_are_denied_say_nobody() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    kept.server.trouble("services", Some(Trouble::Status(503)));
    kept.ask("10.96.0.9").await;
    assert!(kept.party("10.96.0.9").is_none());
    kept.server.trouble("services", Some(Trouble::Status(403)));
    kept.ask("10.96.0.9").await;
    assert!(matches!(kept.party("10.96.0.9"), Some(None)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_addresses_is_asked_for_slowly() {
    let mut kept = Kept::start(one_pod());
    kept.after(1.0).await;
    for number in 0..1000u32 {
        let _ = kept.asks.try_send(IpAddr::V4((0x0af4_0000 + number).into()));
        if number % 50 == 0 {
            kept.after(0.001).await;
        }
    }
    kept.after(10.0).await;
    let asked = kept.server.asked("pods").len();
    assert!((20..=60).contains(&asked), "{asked} requests in 10 s");
}
