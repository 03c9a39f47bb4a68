use std::time::Instant;

use meridian::admin::view::{Explanation, Found, Question, ServiceDecision, Source};
use meridian::config::{Adaptive, Balance, Performance};
use meridian::reload::{Loader, Origin};
use meridian::snapshot::Publisher;

fn balances() -> [&'static str; 11] {
    Balance::all(Performance::DEFAULT, Adaptive::DEFAULT).map(Balance::name)
}

/// A service for each balance; the endpoints weigh 1 and 3.
pub(crate) fn publisher() -> Publisher {
    let mut text = r#"
[server]
listen = ["127.0.0.1:0"]
[regions.us]
location = [0, 0]
[pools.web]
endpoints = [
  { region = "us", address = "192.0.2.1" },
  { region = "us", address = "192.0.2.2", weight = 3 },
]
[zones."example.com"]
nameservers = ["ns1.example.net"]
"#
    .to_owned();
    for balance in balances() {
        for (prefix, settings) in [
            ("", ""),
            ("sticky-", "sticky = { v4 = 20, v6 = 40 }\n"),
            ("fixed-", "answers = 2\nanswer_order = \"fixed\"\n"),
        ] {
            text += &format!(
                "[services.\"{prefix}{balance}.example.com\"]\npool = \"web\"\nsteering = \"priority\"\n\
                 balance = \"{balance}\"\n{settings}"
            );
        }
    }
    Publisher::new(Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}")).compiled)
}

fn explain(publisher: &Publisher, service: &str) -> (ServiceDecision, String) {
    let question = Question::parse(&format!("{service}.example.com"), Some("A"), Some("198.51.100.0/24")).unwrap();
    let (snapshot, health) = (publisher.current(), publisher.health().clone());
    let explanation = Explanation::new(&snapshot, &health, Source::Server, &question, 1, Instant::now(), 0);
    let text = explanation.to_string();
    let Found::Service(decision) = &explanation.steps[0].found else { panic!("no service: {explanation:?}") };
    (decision.as_ref().clone(), text)
}

/// The chance of each endpoint to be picked first, in percent.
fn shares(decision: &ServiceDecision) -> Vec<f64> {
    decision.tiers[0].groups[0].endpoints.iter().map(|endpoint| endpoint.share_percent.unwrap()).collect()
}

#[test]
fn each_balance_is_explained() {
    let publisher = publisher();
    let by_weight = "drawn at random by weight; this is one draw, and the next may differ";
    for balance in balances() {
        let (decision, _) = explain(&publisher, balance);
        let (reason, scope, even) = match balance {
            "round-robin" => ("in turn; each answer begins one further than the last", 0, true),
            "random" => {
                ("drawn at random, each with the same chance; this is one draw, and the next may differ", 0, true)
            }
            "ip-hash" => (
                "by a hash of the client's /24, which keeps its endpoint until a weight or a verdict changes",
                24,
                false,
            ),
            "consistent-hash" => (
                "by consistent hash of the client's /24, which keeps its endpoint as long as that serves and its weight stays",
                24,
                false,
            ),
            "power-of-two" => {
                ("the less busy of two drawn at random by weight; this is one draw, and the next may differ", 0, false)
            }
            "adaptive" => (
                "by weighted, as the largest weight is 3.0 times the smallest (uneven from 2.0 on); drawn at random by \
                 weight; this is one draw, and the next may differ",
                0,
                false,
            ),
            _ => (by_weight, 0, false),
        };
        assert_eq!((decision.pick_reason.as_str(), decision.scope), (reason, scope), "{balance}");
        assert_eq!(shares(&decision), if even { [50.0, 50.0] } else { [25.0, 75.0] }, "{balance}");
        assert_eq!(decision.timeline.len(), usize::from(balance == "adaptive"));
    }
}

#[test]
fn what_sticks_is_explained_with_its_prefix() {
    let publisher = publisher();
    for balance in balances().into_iter().filter(|balance| *balance != "ip-hash") {
        let (decision, _) = explain(&publisher, &format!("sticky-{balance}"));
        let reason = "by consistent hash of the client's /20, which keeps its endpoint as long as that serves and its weight stays";
        assert!(decision.pick_reason.ends_with(reason), "{balance}: {}", decision.pick_reason);
        assert_eq!((decision.scope, decision.holds_for.as_str()), (20, "198.51.96.0/20"), "{balance}");
        let is_even = ["round-robin", "random"].contains(&balance);
        assert_eq!(shares(&decision), if is_even { [50.0, 50.0] } else { [25.0, 75.0] }, "{balance}");
    }
}

#[test]
fn a_fixed_order_of_all_depends_on_nobody() {
    let publisher = publisher();
    for balance in balances() {
        let (decision, _) = explain(&publisher, &format!("fixed-{balance}"));
        assert!(decision.pick_reason.ends_with("; in the order of the file"), "{balance}: {}", decision.pick_reason);
        assert_eq!(
            (decision.scope, &decision.answered[..]),
            (0, &["192.0.2.1".to_owned(), "192.0.2.2".to_owned()][..])
        );
    }
}

#[test]
fn what_adaptive_chose_is_in_the_text() {
    let (decision, text) = explain(&publisher(), "adaptive");
    assert_eq!((decision.timeline[0].balance.as_str(), decision.timeline[0].seconds_ago), ("weighted", 0));
    let line = "            0 s ago: weighted, as the largest weight is 3.0 times the smallest (uneven from 2.0 on)\n";
    assert!(text.contains(line), "{text}");
}
