//! An explanation as text, for someone who was woken up by it.

use std::fmt::{self, Display, Formatter};

use super::{
    AdaptiveChange, Answer, Asker, AskerKnownBy, Beside, Endpoint, Explanation, Fate, Found, Group, GroupEndpoint,
    Hold, Input, Latency, Load, Location, LocationKnownBy, OutcomeKind, Part, Phases, RankedRegion, Record,
    ServiceDecision, Source,
};
use crate::health::overrides::Word;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Question  {} {}", self.name, self.qtype)?;
        writeln!(f, "{}", self.client)?;
        match self.source {
            Source::Server => writeln!(f, "Server    generation {}", self.generation)?,
            Source::File => writeln!(f, "Health    unknown: this is read from a file, so every endpoint counts as up")?,
        }
        if let (Some(seconds), Some(ends)) = (self.unsure_seconds, &self.unsure_ends) {
            let age = Age(seconds);
            writeln!(
                f,
                "Unsure    for {age}: so much turned down at once that this server may be cut off itself, so it takes nothing away"
            )?;
            writeln!(f, "          that ends {ends}")?;
        }
        for step in &self.steps {
            writeln!(f)?;
            write_step(f, &step.name, &step.found)?;
        }
        writeln!(f, "\nAnswer\n{}", self.answer)
    }
}

impl Display for Asker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.known_by, &self.subnet) {
            (AskerKnownBy::ClientSubnet, Some(subnet)) => {
                writeln!(f, "Client    {subnet}, as the resolver names it (EDNS client subnet)")?;
            }
            (AskerKnownBy::Nothing, _) => {
                return write!(
                    f,
                    "Client    nobody in particular: its location counts as unknown (give one with --client)"
                );
            }
            _ => writeln!(f, "Client    {}, the resolver's own address", self.address)?,
        }
        write!(f, "Location  {}", self.location)
    }
}

impl Display for Location {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.region.iter().map(|region| format!("region {region}")));
        parts.extend(self.city.clone());
        parts.extend(self.subdivisions.iter().rev().cloned());
        parts.extend(self.country.clone());
        parts.extend(self.continent.clone());
        if let (Some(latitude), Some(longitude)) = (self.latitude, self.longitude) {
            parts.push(format!("{latitude:.2} {longitude:.2}"));
        }
        match (self.asn, &self.organisation) {
            (Some(asn), Some(organisation)) => parts.push(format!("AS{asn} {organisation}")),
            (Some(asn), None) => parts.push(format!("AS{asn}")),
            _ => {}
        }
        let parts = parts.join(", ");
        match self.known_by {
            LocationKnownBy::Networks => write!(f, "{parts} (by [[geoip.networks]], {})", self.network),
            LocationKnownBy::Database => write!(f, "{parts} (by the database, {})", self.network),
            LocationKnownBy::Nothing => write!(f, "unknown (the database says nothing of {})", self.network),
        }
    }
}

fn write_step(f: &mut Formatter<'_>, name: &str, found: &Found) -> fmt::Result {
    write!(f, "{name} ")?;
    match found {
        Found::NotServed => writeln!(f, "is in no zone that is served here"),
        Found::Delegation { zone, at } => writeln!(f, "is delegated: {zone} refers {at} to other servers"),
        Found::Dname { zone, at } => writeln!(f, "is an alias by the DNAME at {at} (zone {zone})"),
        Found::NxDomain { zone } => writeln!(f, "does not exist in the zone {zone}"),
        Found::Stopped => writeln!(f, "was followed already, or is one alias too many: the client has to ask on"),
        Found::Static { zone, at, types, service } => {
            write!(f, "is ")?;
            match at {
                _ if at == zone => write!(f, "the apex of the zone {zone}")?,
                _ if at.eq_ignore_ascii_case(name) => write!(f, "in the zone {zone}")?,
                _ => write!(f, "covered by the wildcard {at} in the zone {zone}")?,
            }
            match types.as_slice() {
                [] if service.is_some() => {}
                [] => write!(f, ", without records of its own (names below it exist)")?,
                types => write!(f, ", with static records: {}", types.join(" "))?,
            }
            match service {
                Some(service) => writeln!(f, "; the service {service} decides its A and AAAA only"),
                None => writeln!(f),
            }
        }
        Found::Service(decision) => {
            if !decision.service.eq_ignore_ascii_case(name) {
                write!(f, "is covered by ")?;
            } else {
                write!(f, "is ")?;
            }
            write!(f, "{decision}")
        }
    }
}

impl Display for ServiceDecision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { service, zone, steering, balance, answers, when_all_down, .. } = self;
        writeln!(f, "the service {service} in the zone {zone}")?;
        let wanted = match &self.beside {
            None => format!("{} wanted", self.family),
            Some(Beside { family, .. }) => format!("{} and {family} wanted, and {0} leads", self.family),
        };
        writeln!(
            f,
            "  steering {steering}, balance {balance}, answers {answers}, when all is down {when_all_down}; {wanted}"
        )?;
        if let [word, ..] = self.overrides.as_slice() {
            writeln!(f, "  an operator says of this service: {word}; `meridian override list` tells who and why")?;
        }
        writeln!(f, "\n  Regions{}", if steering == "weighted" { "" } else { ", in this client's order" })?;
        if self.regions.is_empty() {
            writeln!(f, "     none")?;
        }
        let width = self.regions.iter().map(|region| region.region.len()).max().unwrap_or(0);
        for (place, region) in (1..).zip(&self.regions) {
            writeln!(f, "  {place:4}. {:width$} {region}", region.region)?;
        }
        for (tier, pool) in self.tiers.iter().enumerate() {
            let kind = if tier == 0 { "Pool" } else { "Failover pool" };
            writeln!(f, "\n  {kind} {}, which needs {} healthy in a region", pool.pool, pool.min_healthy)?;
            for group in &pool.groups {
                write!(f, "{group}")?;
            }
        }
        writeln!(f, "\n  Filter")?;
        for stage in &self.filter {
            writeln!(f, "    {:8}  {}", stage.stage, stage.line)?;
        }
        writeln!(f, "\n  Decision  {}", self.reason)?;
        match self.outcome {
            OutcomeKind::NoData => writeln!(f, "  Answered  no data")?,
            _ => writeln!(f, "  Answered  {}: {}", self.answered.join(", "), self.pick_reason)?,
        }
        match &self.beside {
            Some(Beside { family, answered, reason }) if answered.is_empty() => {
                writeln!(f, "  Beside    no {family}: {reason}")?;
            }
            Some(Beside { answered, reason, .. }) => writeln!(f, "  Beside    {}: {reason}", answered.join(", "))?,
            None => {}
        }
        for AdaptiveChange { seconds_ago, balance, reason } in self.timeline.iter().rev() {
            writeln!(f, "            {} ago: {balance}, as {reason}", Age(*seconds_ago))?;
        }
        match self.outcome {
            OutcomeKind::NoData => writeln!(f, "  TTL       {}", self.ttl_reason)?,
            _ => writeln!(f, "  TTL       {} s: {}", self.ttl, self.ttl_reason)?,
        }
        writeln!(f, "  Scope     {}: holds for {}", self.scope, self.holds_for)
    }
}

impl Display for RankedRegion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.distance_km {
            Some(distance_km) => write!(f, "{distance_km:>6.0} km")?,
            None => write!(f, "     ? km")?,
        }
        if let Some(biased_km) = self.biased_km {
            write!(f, ", counts as {biased_km:.0} km by its bias")?;
        }
        if let Some(Latency { ms, measured_for, age_seconds }) = &self.latency {
            match (measured_for, age_seconds) {
                (Some(of), Some(seconds)) => write!(f, ", {ms} ms measured for {of} {} ago", Age(*seconds))?,
                _ => write!(f, ", {ms:.0} ms estimated from the distance")?,
            }
        }
        if let Some(claim) = &self.claim {
            write!(f, ", claims the client by {claim}")?;
        }
        if let Some(weight) = self.weight {
            write!(f, ", weight {weight}")?;
        }
        Ok(())
    }
}

impl Display for Group {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let arrow = if self.fate == Fate::Chosen { "=>" } else { "  " };
        let Self { region, fate_reason, healthy, allowed, .. } = self;
        write!(f, "   {arrow} {region}: ")?;
        match self.fate {
            Fate::Empty => f.write_str(fate_reason)?,
            Fate::Chosen | Fate::PassedOver | Fate::Standby => {
                write!(f, "{healthy} of {allowed} healthy, {fate_reason}")?;
            }
        }
        match self.share_percent {
            Some(share_percent) => writeln!(f, "; drawn in {share_percent:.1} % of answers")?,
            None => writeln!(f)?,
        }
        let width = self.endpoints.iter().map(|endpoint| endpoint.endpoint.endpoint.len()).max().unwrap_or(0);
        for endpoint in &self.endpoints {
            writeln!(f, "        {:width$}  {endpoint}", endpoint.endpoint.endpoint)?;
        }
        Ok(())
    }
}

impl Display for GroupEndpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::OtherFamily => f.write_str("is of the other address family")?,
            _ => self.endpoint.fmt(f)?,
        }
        if let Some(share_percent) = self.share_percent {
            write!(f, "; picked first in {share_percent:.1} %")?;
        }
        if self.answered { f.write_str("  <- answered") } else { Ok(()) }
    }
}

/// All but its address.
impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.weight {
            0 => f.write_str("weight 0, so drained, ")?,
            weight => write!(f, "weight {weight}, ")?,
        }
        if self.state != "enabled" {
            write!(f, "{}, ", self.state)?;
        }
        let is_broken = self.breaker_open_seconds.is_some();
        let (is_found, verdict) = match self.verdict.as_str() {
            "unprobed" if is_broken => (false, "not probed"),
            "unprobed" => (false, "not probed, so up"),
            "unknown" if is_broken => (false, "unknown"),
            "unknown" => (false, "unknown, so counts as up"),
            verdict => (true, verdict),
        };
        f.write_str(verdict)?;
        if let Some(seconds) = self.verdict_seconds {
            write!(f, " for {}", Age(seconds))?;
        }
        if !self.overrides.is_empty() {
            let words: Vec<&str> = self.overrides.iter().map(|word| word.name()).collect();
            write!(f, ", as an operator says ({})", words.join(", "))?;
        }
        if let Some(held) = &self.held {
            let says = if self.inputs.is_empty() { "its probe says down" } else { "its inputs say down" };
            let says = (self.found.as_deref() == Some("down")).then(|| says.to_owned());
            let breaker = self.breaker.as_ref().filter(|state| *state != "closed");
            let reasons = [says, breaker.map(|state| format!("its breaker is {state}"))];
            let reasons: Vec<String> = reasons.into_iter().flatten().collect();
            write!(f, ": {}, but ", reasons.join(" and "))?;
            match held.as_str() {
                "unsure" => f.write_str("this server doubts itself")?,
                limit => write!(f, "`[safety] {limit}` keeps it")?,
            }
            f.write_str(", so it may be answered")?;
        }
        match self.breaker_open_seconds.map(Age) {
            Some(left) if self.verdict == "down" => write!(f, ", and its breaker is open, tried again in {left}")?,
            Some(left) => {
                let by = match is_found {
                    true if self.inputs.is_empty() => " by its probe",
                    true => " by its inputs",
                    false => "",
                };
                write!(f, "{by}, but counts as down: its breaker is open, tried again in {left}")?;
            }
            None => {}
        }
        write!(f, "{}", self.hold)?;
        match (&self.last_probe, self.last_probe_seconds) {
            _ if !self.inputs.is_empty() => self.write_inputs(f)?,
            (Some(probe), Some(seconds)) => write!(f, " ({probe}, {}{} ago)", self.last_probe_phases, Age(seconds))?,
            _ => {}
        }
        if let Some(days) = self.certificate_days_left {
            write!(f, "; certificate for {days} more days")?;
        }
        if self.weight_percent != 100.0 && self.breaker_open_seconds.is_none() {
            let score = self.health_score.filter(|score| self.is_scored && *score < 1.0);
            let score = score.map(|score| format!("health {score:.2}"));
            let warming = self.is_warming.then(|| "warming up".to_owned());
            let heeds_breaker = self.held.is_none() && !self.overrides.contains(&Word::Up);
            let breaker = self
                .breaker
                .as_ref()
                .filter(|state| heeds_breaker && *state != "closed")
                .map(|state| format!("breaker {state}"));
            let reasons: Vec<String> = [score, warming, breaker].into_iter().flatten().collect();
            write!(f, "; {:.1} % of its weight counts ({})", self.weight_percent, reasons.join(", "))?;
        }
        if let Some(seconds) = self.load_seconds {
            write!(f, "; load {} ({} ago)", self.load, Age(seconds))?;
        }
        Ok(())
    }
}

impl Endpoint {
    /// What of its inputs is needed, and what each says; those that are only watched come last.
    fn write_inputs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (watched, acting): (Vec<&Input>, Vec<&Input>) = self.inputs.iter().partition(|input| input.monitoring_only);
        let weight: u64 = acting.iter().map(|input| u64::from(input.weight)).sum();
        match self.required_weight {
            Some(required) if required < weight && weight > acting.len() as u64 => {
                write!(f, "; needs a weight of {required} of {weight}: ")?;
            }
            Some(required) if required < weight => write!(f, "; needs {required} of {weight}: ")?,
            _ => f.write_str("; needs all: ")?,
        }
        write_list(f, &acting)?;
        if !watched.is_empty() {
            f.write_str("; only watched: ")?;
            write_list(f, &watched)?;
        }
        Ok(())
    }
}

/// With commas between them.
fn write_list(f: &mut Formatter<'_>, inputs: &[&Input]) -> fmt::Result {
    inputs.iter().enumerate().try_for_each(|(place, input)| {
        f.write_str(if place == 0 { "" } else { ", " })?;
        input.fmt(f)
    })
}

/// What the latest run found is told where the input isn't simply up.
impl Display for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.probe.as_ref().unwrap_or(&self.input), self.verdict, self.hold)?;
        let last = self.last_probe.as_ref().zip(self.last_probe_seconds).filter(|_| self.verdict != "up");
        let parts = [
            (self.weight != 1).then(|| format!("weight {}", self.weight)),
            self.must_pass.then(|| "must pass".to_owned()),
            last.map(|(probe, seconds)| format!("{probe}, {} ago", Age(seconds))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join("; ")) }
    }
}

/// With a comma ahead of it.
impl Display for Hold {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.held_down_seconds {
            Some(seconds) => write!(f, ", held down for {} more", Age(seconds)),
            None if self.awaits_resume => f.write_str(", waits for `meridian resume`"),
            None => Ok(()),
        }
    }
}

/// Each with its time and a comma behind it.
impl Display for Phases {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { resolve_ms, connect_ms, tls_ms, first_byte_ms } = self;
        let parts = [("resolve", resolve_ms), ("connect", connect_ms), ("tls", tls_ms), ("first byte", first_byte_ms)];
        parts.iter().try_for_each(|(name, time)| time.map_or(Ok(()), |time| write!(f, "{name} {time:.1} ms, ")))
    }
}

impl Display for Load {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { connections, utilization, response_ms, error_rate, requests_per_second } = self;
        let parts = [
            connections.map(|value| format!("{value} connections")),
            utilization.map(|value| format!("utilization {value}")),
            response_ms.map(|value| format!("{value} ms")),
            error_rate.map(|value| format!("error rate {value}")),
            requests_per_second.map(|value| format!("{value} requests/s")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "too old to count" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Seconds, in the unit that says most.
pub(crate) struct Age(pub(crate) u64);

impl Display for Age {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} h", seconds / 3600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

/// As dig shows it.
impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "  ;; {}, flags: {}", self.rcode, self.flags.join(" "))?;
        if let Some(subnet) = &self.client_subnet {
            write!(f, "\n  ;; CLIENT-SUBNET: {subnet}")?;
        }
        for (title, records) in
            [("ANSWER", &self.answer), ("AUTHORITY", &self.authority), ("ADDITIONAL", &self.additional)]
        {
            if !records.is_empty() {
                write!(f, "\n  ;; {title}")?;
            }
            for record in records {
                write!(f, "\n  {record}")?;
            }
        }
        Ok(())
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} IN {} {}", self.name, self.ttl, self.rtype, self.data)
    }
}
