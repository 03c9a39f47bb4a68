use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meridian::admin::view::HealthReport;
use meridian::dns::{MAX_TCP_RESPONSE, Rcode, Transport, WorkerContext, respond};
use meridian::health::{Details, Observation, Phases, Punctuality};
use meridian::measurements::Counts;
use meridian::metrics::WorkerCounters;
use meridian::metrics::prometheus::{Operators, Reloads, Scrape};
use meridian::server::ServerCounters;
use meridian::snapshot::Publisher;

use crate::support::{CONFIGURATION, observe, published, published_of};
use crate::words::overrides;

/// The samples of a text, by name with labels, once it is sure that the text is well-formed.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut helped, mut typed, mut family) = (BTreeSet::new(), BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(words.len() > 10 && words.ends_with('.'), "{line}");
            assert!(helped.insert(name.to_owned()), "two families {name}");
            name.clone_into(&mut family);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            typed.insert(name.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(name == family || base == Some(family.as_str()), "{line} stands under {family}");
            assert!(name.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_'), "{line}");
            assert!(!series.contains('{') || series.ends_with("\"}"), "{line}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "two series {series}");
        }
    }
    assert_eq!(helped, typed);
    assert!(text.ends_with('\n'));
    samples
}

fn scrape(publisher: &Publisher, workers: &[Arc<WorkerCounters>], reloads: Reloads) -> BTreeMap<String, f64> {
    let (snapshot, health) = (publisher.current(), publisher.health().clone());
    let server = ServerCounters::default();
    let started = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let punctuality = Punctuality::default();
    punctuality.lateness.record(Duration::from_millis(3));
    let scrape = Scrape {
        snapshot: &snapshot,
        health: &health,
        verdict_delays: publisher.verdict_delays(),
        punctuality: &punctuality,
        workers,
        server: &server,
        reloads,
        measurements: Counts::default(),
        operators: Operators { overrides: &publisher.overrides(), not_kept: (1, 2) },
        dropped_log_lines: 9,
        started,
    };
    samples(&scrape.text().unwrap())
}

#[test]
fn queries_are_summed_over_workers() {
    let publisher = published(&[], Instant::now());
    let workers: Vec<Arc<WorkerCounters>> = (0..3).map(|_| Arc::default()).collect();
    for worker in &workers {
        worker.count_query(Transport::Udp, 1, Rcode::NoError);
        worker.count_dropped();
    }
    workers[0].count_query(Transport::Tcp, 28, Rcode::NxDomain);
    workers[1].count_query(Transport::Udp, 4711, Rcode::NoError);
    workers[2].count_truncated();
    let samples = scrape(&publisher, &workers, Reloads::default());
    let queries: Vec<_> = samples
        .iter()
        .map(|(series, value)| (series.as_str(), *value))
        .filter(|(series, _)| series.starts_with("meridian_queries_total"))
        .collect();
    let expected = [
        (r#"meridian_queries_total{transport="tcp",type="AAAA",rcode="NXDOMAIN"}"#, 1.0),
        (r#"meridian_queries_total{transport="udp",type="A",rcode="NOERROR"}"#, 3.0),
        (r#"meridian_queries_total{transport="udp",type="other",rcode="NOERROR"}"#, 1.0),
    ];
    assert_eq!(queries, expected);
    assert_eq!(samples["meridian_dropped_messages_total"], 3.0);
    assert_eq!(samples["meridian_truncated_responses_total"], 1.0);
}

#[test]
fn answers_are_counted_by_service_pool_and_region() {
    let publisher = published(&["198.51.100.1", "2001:db8::1"], Instant::now());
    let counters: Arc<WorkerCounters> = Arc::default();
    let mut context = WorkerContext::new(0, 1, Arc::clone(&counters));
    let mut ask = |name: &[u8]| {
        let request = [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat();
        let mut response = vec![0; MAX_TCP_RESPONSE];
        let peer = "10.1.0.1".parse().unwrap();
        respond(&publisher.current(), &mut context, &request, peer, Transport::Udp, &mut response).unwrap();
    };
    for _ in 0..3 {
        ask(b"\x03www\x07example\x03com\x00");
    }
    observe(&publisher, &["192.0.2.1", "192.0.2.2", "198.51.100.1"], 3, Instant::now());
    ask(b"\x03www\x07example\x03com\x00");
    ask(b"\x04open\x07example\x03com\x00");
    ask(b"\x04last\x07example\x03com\x00");
    let samples = scrape(&publisher, &[counters], Reloads::default());
    for (series, expected) in [
        (r#"answers_total{service="www.example.com",pool="web",region="us-east"}"#, 3.0),
        (r#"answers_total{service="www.example.com",pool="web",region="eu-central"}"#, 0.0),
        (r#"answers_total{service="www.example.com",pool="spare",region="ap-southeast"}"#, 1.0),
        (r#"answers_total{service="open.example.com",pool="web",region="eu-central"}"#, 1.0),
        (r#"all_down_answers_total{service="www.example.com"}"#, 0.0),
        (r#"all_down_answers_total{service="open.example.com"}"#, 1.0),
        (r#"all_down_answers_total{service="last.example.com"}"#, 1.0),
        (r#"queries_total{transport="udp",type="A",rcode="NOERROR"}"#, 6.0),
    ] {
        assert_eq!(samples[&format!("meridian_{series}")], expected, "{series}");
    }
}

#[test]
fn health_reloads_and_the_configuration_are_shown() {
    let publisher = published(&["198.51.100.1"], Instant::now());
    let samples = scrape(&publisher, &[], Reloads { succeeded: 4, partial: 3, failed: 2, last_failed: true });
    for (series, expected) in [
        (r#"meridian_endpoint_verdict{pool="web",region="eu-central",endpoint="198.51.100.1",verdict="down"}"#, 1.0),
        (r#"meridian_endpoint_verdict{pool="web",region="eu-central",endpoint="198.51.100.1",verdict="up"}"#, 0.0),
        (r#"meridian_endpoint_verdict{pool="web",region="us-east",endpoint="192.0.2.1",verdict="up"}"#, 1.0),
        (r#"meridian_endpoint_weight{pool="web",region="us-east",endpoint="192.0.2.1"}"#, 3.0),
        (r#"meridian_endpoint_enabled{pool="web",region="eu-central",endpoint="198.51.100.2"}"#, 0.0),
        (r#"meridian_endpoint_enabled{pool="cdn",region="us-east",endpoint="www.example.com"}"#, 1.0),
        (r#"meridian_probes_total{target="tcp://198.51.100.1:80",outcome="failure"}"#, 3.0),
        (r#"meridian_probes_total{target="tcp://192.0.2.1:80",outcome="success"}"#, 3.0),
        (r#"meridian_verdict_transitions_total{target="tcp://192.0.2.1:80"}"#, 1.0),
        (r#"meridian_probe_duration_seconds_bucket{target="tcp://192.0.2.1:80",le="0.0025"}"#, 0.0),
        (r#"meridian_probe_duration_seconds_bucket{target="tcp://192.0.2.1:80",le="0.005"}"#, 3.0),
        (r#"meridian_probe_duration_seconds_bucket{target="tcp://192.0.2.1:80",le="10"}"#, 3.0),
        (r#"meridian_probe_duration_seconds_bucket{target="tcp://192.0.2.1:80",le="+Inf"}"#, 3.0),
        (r#"meridian_probe_duration_seconds_count{target="tcp://192.0.2.1:80"}"#, 3.0),
        (r#"meridian_probe_duration_seconds_sum{target="tcp://192.0.2.1:80"}"#, 0.012),
        (r#"meridian_probe_lateness_seconds_bucket{le="0.0025"}"#, 0.0),
        (r#"meridian_probe_lateness_seconds_bucket{le="0.005"}"#, 1.0),
        ("meridian_probes_missed_total", 0.0),
        ("meridian_log_lines_dropped_total", 9.0),
        ("meridian_probes_in_flight", 0.0),
        (r#"meridian_reloads_total{result="success"}"#, 4.0),
        (r#"meridian_reloads_total{result="partial"}"#, 3.0),
        (r#"meridian_reloads_total{result="failure"}"#, 2.0),
        ("meridian_zones_outdated", 0.0),
        ("meridian_last_reload_successful", 0.0),
        ("meridian_zones", 1.0),
        ("meridian_services", 8.0),
        ("meridian_regions", 3.0),
        (r#"meridian_connections{transport="tcp"}"#, 0.0),
        ("meridian_panics_total", 0.0),
        ("process_start_time_seconds", 1_700_000_000.0),
    ] {
        let value = samples.get(series).unwrap_or_else(|| panic!("no {series}"));
        assert!((value - expected).abs() < 1e-9, "{series} is {value}");
    }
    let unprobed = samples.keys().filter(|series| series.contains("endpoint_verdict") && series.contains("spare"));
    assert_eq!(unprobed.count(), 0, "what is not probed has no verdict");
    assert_eq!(samples["meridian_snapshot_generation"], publisher.current().generation as f64);
    let version = format!("meridian_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(samples[&version], 1.0);
    assert!(samples["process_resident_memory_bytes"] > 1e6);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let (built, networks) = (
        samples
            .iter()
            .find(|(series, _)| series.starts_with("meridian_database_build_timestamp_seconds{type=\""))
            .unwrap(),
        samples.iter().find(|(series, _)| series.starts_with("meridian_database_networks{type=\"")).unwrap(),
    );
    assert!(*built.1 > 1.6e9 && *built.1 < now && *networks.1 > 100_000.0, "{built:?} {networks:?}");
}

#[test]
fn how_well_endpoints_are_and_what_operators_say_of_them_is_shown() {
    let publisher = published(&[], Instant::now());
    observe(&publisher, &["192.0.2.1"], 1, Instant::now());
    let said = "drain endpoint/web/us-east/192.0.2.1, disable pool/spare, down region/eu-central";
    publisher.obey(&overrides(said, 1), Instant::now());
    let samples = scrape(&publisher, &[], Reloads::default());
    for (series, expected) in [
        (r#"endpoint_health_score{pool="web",region="us-east",endpoint="192.0.2.1"}"#, 0.875),
        (r#"endpoint_health_score{pool="web",region="us-east",endpoint="192.0.2.2"}"#, 1.0),
        (r#"endpoint_enabled{pool="web",region="us-east",endpoint="192.0.2.1"}"#, 0.0),
        (r#"endpoint_enabled{pool="web",region="us-east",endpoint="192.0.2.2"}"#, 1.0),
        (r#"endpoint_enabled{pool="pairs",region="us-east",endpoint="192.0.2.1"}"#, 1.0),
        (r#"endpoint_enabled{pool="spare",region="ap-southeast",endpoint="203.0.113.1"}"#, 0.0),
        (r#"endpoint_enabled{pool="web",region="eu-central",endpoint="198.51.100.1"}"#, 1.0),
        (r#"endpoint_verdict{pool="web",region="eu-central",endpoint="198.51.100.1",verdict="down"}"#, 1.0),
        (r#"endpoints_held{reason="unsure"}"#, 0.0),
        (r#"endpoints_held{reason="max_down_share"}"#, 0.0),
        (r#"endpoints_held_down{by="hold_down"}"#, 0.0),
        (r#"endpoints_held_down{by="manual_resume"}"#, 0.0),
        ("prober_unsure", 0.0),
    ] {
        assert_eq!(samples[&format!("meridian_{series}")], expected, "{series}");
    }
    let scores = samples.keys().filter(|series| series.contains("health_score") && series.contains("spare"));
    assert_eq!(scores.count(), 0, "what is not probed has no score");
}

#[test]
fn what_is_held_is_counted() {
    let limited = CONFIGURATION
        .replace("rise = 2\n", "rise = 2\nmanual_resume = true\n")
        .replace("\"203.0.113.1\" }", "\"203.0.113.1\", drain_at = 2001-01-01T00:00:00Z }")
        + "[safety]\nmax_down_share = 0.25\n";
    let publisher = published_of(&limited, &["192.0.2.1", "192.0.2.2"], Instant::now());
    let samples = scrape(&publisher, &[], Reloads::default());
    let drains = r#"meridian_endpoint_enabled{pool="spare",region="ap-southeast",endpoint="203.0.113.1"}"#;
    assert_eq!(samples[drains], 0.0, "as was planned");
    // One of four in each of two pools is taken away; all four are down until they are resumed.
    assert_eq!(samples[r#"meridian_endpoints_held{reason="max_down_share"}"#], 2.0);
    assert_eq!(samples[r#"meridian_endpoints_held_down{by="manual_resume"}"#], 4.0);
    assert_eq!(samples[r#"meridian_endpoints_held_down{by="hold_down"}"#], 0.0);
    publisher.resume(&"pool/web".parse().unwrap(), Instant::now());
    let samples = scrape(&publisher, &[], Reloads::default());
    assert_eq!(samples[r#"meridian_endpoints_held_down{by="manual_resume"}"#], 0.0);
}

#[test]
fn what_adaptive_balances_go_by_is_told() {
    let samples = scrape(&crate::balances::publisher(), &[], Reloads::default());
    let adaptive: Vec<_> =
        samples.iter().filter(|(series, _)| series.starts_with("meridian_adaptive_balance")).collect();
    assert_eq!(adaptive.len(), 3, "of three services alone: {adaptive:?}");
    let expected =
        "meridian_adaptive_balance{service=\"adaptive.example.com\",pool=\"web\",region=\"us\",balance=\"weighted\"}";
    assert!(samples.contains_key(expected), "{adaptive:?}");
}

#[test]
fn phases_of_the_latest_probe_and_the_end_of_its_certificate_are_shown() {
    let publisher = published(&[], Instant::now());
    let key = |address: &str| {
        let health = publisher.health();
        let target = health.targets().iter().find(|target| target.key.target.to_string() == address).unwrap();
        Arc::clone(&target.key)
    };
    let tls = Details {
        phases: Phases {
            connect: Some(Duration::from_micros(1_250)),
            tls: Some(Duration::from_millis(20)),
            first_byte: Some(Duration::from_micros(1_250_000)),
            ..Phases::default()
        },
        certificate_expires: Some(4_000_000_000),
        poor: Some("certificate expires in 3 days".into()),
        ..Details::default()
    };
    let took = Duration::from_millis(1_280);
    for (address, details) in [("192.0.2.1", tls), ("192.0.2.2", Details::default())] {
        let observation = Observation { took, address: None, outcome: Ok(()), details };
        publisher.observe([(key(address), observation)], Instant::now());
    }
    let samples = scrape(&publisher, &[], Reloads::default());
    let of = |family: &str| -> Vec<(&str, f64)> {
        let found = samples.iter().filter(|(series, _)| series.starts_with(family));
        let labels = found.map(|(series, value)| (series.split_once('{').unwrap().1, *value));
        labels.filter(|(labels, _)| labels.starts_with("pool=\"web\"")).collect()
    };
    assert_eq!(
        of("meridian_probe_phase_seconds"),
        [
            (r#"pool="web",region="us-east",endpoint="192.0.2.1",phase="connect"}"#, 0.001_25),
            (r#"pool="web",region="us-east",endpoint="192.0.2.1",phase="first_byte"}"#, 1.25),
            (r#"pool="web",region="us-east",endpoint="192.0.2.1",phase="tls"}"#, 0.02),
        ]
    );
    assert_eq!(
        of("meridian_certificate_expiry_timestamp_seconds"),
        [(r#"pool="web",region="us-east",endpoint="192.0.2.1"}"#, 4e9)]
    );

    let report = HealthReport::new(&publisher.current(), &publisher.health(), None, Instant::now());
    let endpoint = &report.endpoints.iter().find(|placed| placed.endpoint.endpoint == "192.0.2.1").unwrap().endpoint;
    let phases = endpoint.last_probe_phases;
    assert_eq!((phases.resolve_ms, phases.connect_ms, phases.tls_ms), (None, Some(1.25), Some(20.0)));
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let days = endpoint.certificate_days_left.unwrap();
    assert!((4_000_000_000 - seconds) / 86_400 == days, "{days}");
    let text = endpoint.to_string();
    let shown =
        "(ok in 1.3s, but certificate expires in 3 days, connect 1.2 ms, tls 20.0 ms, first byte 1250.0 ms, 0 s ago)";
    assert!(text.contains(shown), "{text}");
    assert!(text.contains(&format!("; certificate for {days} more days")), "{text}");
}
