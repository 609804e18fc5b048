"use strict";

// Every text is set as text, so that a store's name is never markup.
const PERIOD = 2000;
const STEPS = ["created", "applied", "proved", "promoted", "done"];
const LOOKS = {
  ok: "ok", done: "ok", finished: "ok", warning: "warn", unfinished: "warn", unknown: "warn", undone: "warn", undoing: "warn",
  overdue: "warn", denied: "bad", unavailable: "bad", misconfigured: "bad", failed: "bad", unreadable: "bad", running: "busy",
  created: "busy", applied: "busy", proved: "busy", promoted: "busy",
};

const byId = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

const state = (name, text = name) => make("span", `state ${LOOKS[name] || ""}`, text);

function duration(seconds) {
  for (const [unit, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= unit) return `${Math.floor(seconds / unit)} ${name}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const isHealthy = (entry) => ["ok", "checking"].includes(entry.state);

function fact(name, value) {
  return make("div", "", make("dt", "", name), make("dd", "", value));
}

function link(data) {
  const item = make("li");
  item.dataset.number = data.link;
  const took = data.seconds === null ? "" : make("span", "took quiet", `${Math.max(1, Math.round(data.seconds * 1000))} ms`);
  const name = make("h3", "", data.store);
  const card = make("div", "card", make("div", "head", name, state(data.state), took));
  const plugin = data.plugin === data.store ? "" : `${data.plugin}: `;
  const healthy = isHealthy(data);
  const about = [data.location, healthy && data.detail].filter(Boolean).join("; ");
  card.append(make("p", "place", plugin + (about || "no address")));
  const bad = data.checks.filter((check) => check.state !== "ok");
  if (!healthy && !bad.length) card.append(make("p", "fault", data.detail));
  if (bad.length) card.append(make("ul", "checks", ...bad.map(checked)));
  const { policy } = data;
  const going = (word) => (word === "next" ? "ask the next store" : "fail");
  const covers = policy.paths?.length ? policy.paths.join(", ") : policy.patterns ? count(policy.patterns, "pattern") : "all";
  card.append(make("dl", "facts",
    fact("Outage", going(policy.on_unavailable)), fact("Denied", going(policy.on_denied)),
    fact("Missing key", going(policy.on_missing_key)), fact("Timeout", `${policy.timeout} s`), fact("Paths", covers)));
  item.append(card);
  return item;
}

function checked(check) {
  const text = make("div", "", make("strong", "", check.name), ` ${check.detail}`);
  if (check.hint) text.append(make("div", "next", `Next: ${check.hint}`));
  return make("li", "", state(check.state), text);
}

function migration(data, now) {
  const title = data.target ? `${data.sources.join(", ")} → ${data.target}` : data.run;
  const card = make("li", "card", make("div", "head", make("h3", "", title), state(data.state)));
  const bar = make("progress");
  bar.max = data.total || 1;
  bar.value = data.total ? data.done : 1;
  bar.setAttribute("aria-label", `${data.done} of ${data.total} secrets written`);
  const share = data.total ? Math.floor((100 * data.done) / data.total) : 100;
  card.append(bar, make("div", "numbers",
    make("span", "", make("strong", "", `${data.done.toLocaleString("en")} of ${count(data.total, "secret")}`), ` · ${share} %`),
    make("span", "quiet", `begun ${duration((now - Date.parse(data.started)) / 1000)} ago`)));
  if (data.deleted) card.append(make("p", "quiet", `${count(data.deleted, "secret")} deleted at the source`));
  if (data.state === "unfinished") {
    card.append(make("p", "quiet", "Next: ", make("code", "", `strongroom migrate resume ${data.run}`)));
  }
  return card;
}

function agent(data, now) {
  const card = make("li", "card", make("div", "head", make("h3", "", data.command), state("running")));
  card.append(make("p", "place", `session ${data.session} · pid ${data.pid}`));
  const ago = (text) => `${duration((now - Date.parse(text)) / 1000)} ago`;
  const uses = Object.entries(data.uses).map(([rule, number]) => `${rule} ${number.toLocaleString("en")}`).join(", ");
  const facts = make("dl", "facts", fact("Uses", uses || "none"), fact("Refusals", data.refusals.toLocaleString("en")),
    fact("Last", ago(data.last)), fact("Begun", ago(data.started)));
  if (data.end) facts.append(fact("Ends", `in ${duration((Date.parse(data.end) - now) / 1000)}`));
  card.append(facts, make("p", "quiet", "See: ", make("code", "", `strongroom agent log ${data.session}`)));
  return card;
}

function rotation(data, number, now) {
  const name = data.path || `Rotation ${number}`;
  const card = make("li", "card", make("div", "head", make("h3", "", name), state(data.state),
    data.overdue ? state("overdue") : ""));
  card.append(make("p", "place", [`rotator ${data.rotator}`, data.store && `store ${data.store}`].filter(Boolean).join(" · ")));
  if (data.fault) card.append(make("p", "fault", data.fault));
  const reached = STEPS.indexOf(data.state);
  if (reached >= 0) {
    card.append(make("ol", "steps", ...STEPS.map((step, index) => {
      const item = make("li", index <= reached ? "done" : "", step);
      if (index === reached) {
        item.classList.add("current");
        item.setAttribute("aria-current", "step");
      }
      return item;
    })));
  }
  const when = (text) => {
    const seconds = (Date.parse(text) - now) / 1000;
    return seconds < 0 ? `${duration(-seconds)} ago` : `in ${duration(seconds)}`;
  };
  const facts = make("dl", "facts");
  if (data.last_success) facts.append(fact("Last rotation", when(data.last_success)));
  if (data.due) facts.append(fact("Due", when(data.due)));
  if (data.grace_end) facts.append(fact("Old credential ends", when(data.grace_end)));
  if (data.owner) facts.append(fact("Worked on by", data.owner));
  if (data.failures) facts.append(fact("Failed", count(data.failures, "time")));
  if (facts.children.length) card.append(facts);
  return card;
}

function show(data) {
  const now = Date.parse(data.time);
  const faults = data.chain.filter((entry) => !isHealthy(entry));
  const waiting = data.chain.some((entry) => entry.state === "checking");
  const words = faults.length ? `${faults.length} of ${count(data.chain.length, "store")} failed`
    : waiting ? "Probing the stores…" : data.chain.length === 1 ? "The store is ok" : `All ${data.chain.length} stores are ok`;
  const summary = byId("summary");
  if (summary.textContent !== words) summary.textContent = words;  // a screen reader tells of a change only
  summary.className = `summary ${faults.length ? "bad" : waiting ? "" : "ok"}`;
  document.title = faults.length ? `(${faults.length}) Strongroom` : "Strongroom";
  const environment = byId("environment");
  environment.hidden = !data.environment && !data.production;
  environment.textContent = data.environment || "production";
  environment.classList.toggle("warn", data.production);
  byId("clock").textContent = data.probed ? `Probed at ${new Date(data.probed).toLocaleTimeString()}` : "";
  byId("chain").replaceChildren(...data.chain.map(link));
  byId("migrations").replaceChildren(...data.migrations.map((entry) => migration(entry, now)));
  byId("migrations-section").hidden = !data.migrations.length;
  byId("agents").replaceChildren(...data.agents.map((entry) => agent(entry, now)));
  byId("agents-section").hidden = !data.agents.length;
  byId("rotations").replaceChildren(...data.rotations.map((entry, index) => rotation(entry, index + 1, now)));
  byId("rotations-section").hidden = !data.rotations.length;
  const disk = data.disk_cache;
  byId("cache-section").hidden = !disk;
  if (disk) {
    byId("cache").replaceChildren(
      make("p", disk.fault ? "fault" : "", disk.fault || `${count(disk.entries, "entry", "entries")}, ${size(disk.size)}`),
      make("p", "quiet", `A secret is served for ${duration(data.cache.ttl)}, and during an outage for ${duration(data.cache.max_stale)} more.`));
  }
}

async function update() {
  try {
    const answer = await fetch("status.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
  } catch {
    const summary = byId("summary");
    summary.textContent = "Not connected: strongroom ui has ended";
    summary.className = "summary bad";
  }
  setTimeout(update, PERIOD);
}

update();
