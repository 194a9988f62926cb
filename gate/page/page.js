// The waiting page's script: asks the visitor API, tells the visitor, and goes
// on when the turn comes. Written in the JavaScript of 2009, since a phone
// that cannot parse it would wait for ever.
(function () {
"use strict";
var doc = document, root = doc.documentElement;
var data = JSON.parse(doc.getElementById("sluice-data").textContent);
var view = data.view, words = data.words;

var SPACING = 2000;  // least time between polls that the visitor's doings cause
var SLOW = 10000;    // least time between polls without a place
var TIMEOUT = 20000; // the gate holds answers for about two seconds
var LONG = 60000;    // who heard nothing for so long was asleep

var loaded = Date.now();
var heard = loaded;   // when the last answer came
var asked = loaded;   // when the last question left
var due = 0;          // when the next one leaves
var request = null;
var fails = 0, refusals = 0, answers = 0;
var stopped = false, leaving = false;
var moment = root.getAttribute("data-moment");

// --- what the visitor sees

function each(name, f) {
	var all = doc.querySelectorAll('[data-sluice="' + name + '"]');
	for (var i = 0; i < all.length; i++) f(all[i]);
}
function show(name, text) {
	each(name, function (e) { if (e.textContent !== text) e.textContent = text; });
}
function link(text, target) {
	each("link", function (e) {
		// Without its fragment, or following the link would only scroll.
		e.href = view.next || location.href.split("#")[0];
		e.target = target || "";
		e.textContent = text;
	});
}
function put(form, n) { return form.replace("{n}", n).replace("{a}", n); }
function number(n) { return String(n).replace(/\B(?=(\d{3})+$)/g, ","); }

function ago(s) {
	if (s < 3) return words.justNow;
	if (s < 60) return put(words.secondsAgo, s);
	return put(words.minutesAgo, number(Math.floor(s / 60)));
}
function hours(halves, whole, half) {
	if (halves === 1) return words.halfHour;
	return put(halves % 2 ? half : whole, number(Math.floor(halves / 2)));
}
// estimate rounds outwards, to steps that grow with the wait. words.go has the same.
function estimate(e) {
	if (!e || !(e.high > 0)) return words.noEstimate;
	var high = Math.ceil(e.high), low = Math.min(Math.max(Math.floor(e.low || 0), 0), high), step = 1, a, b, form;
	if (high < 60) return words.underMinute;
	if (high <= 5400) {
		if (high > 2400) step = 10; else if (high > 1200) step = 5;
		a = Math.floor(low / 60 / step) * step;
		b = Math.ceil(high / 60 / step) * step;
		if (b === 1) return words.oneMinute;
		form = a === 0 ? words.upToMinutes : a === b ? words.minutes : words.minuteRange;
		return form.replace("{a}", a).replace("{b}", b);
	}
	if (high > 21600) step = 2;
	a = Math.floor(low / 1800 / step) * step;
	b = Math.ceil(high / 1800 / step) * step;
	form = a === 0 ? words.upTo : a === b ? words.about : words.range;
	return form.replace("{a}", hours(a, words.hoursShort, words.halfShort)).replace("{b}", hours(b, words.hours, words.hoursHalf));
}

// Screen readers hear what matters, and not every step of the count.
var told = "", toldAt = 0;
function tell(text, now) {
	if (text === told || !now && Date.now() - toldAt < 60000) return;
	told = text;
	toldAt = Date.now();
	show("live", text);
}

// What was seen in this tab survives a reload. Where storage is blocked the
// page does without.
function keep(key, value) {
	try {
		key = "sluice-" + view.room + "-" + key;
		if (value === undefined) return Number(sessionStorage.getItem(key)) || 0;
		if (value) sessionStorage.setItem(key, value); else sessionStorage.removeItem(key);
	} catch (e) {}
	return 0;
}

var first = 0;
function progress() {
	var water = doc.getElementById("water"), p = 1;
	if (moment !== "in") {
		if (!view.position) return;
		first = Math.max(first, keep("first"), view.position);
		keep("first", first);
		p = 1 - view.position / (first + 1);
	}
	if (!water) return;
	water.style.setProperty("--level", p.toFixed(4));
	water.setAttribute("aria-valuenow", Math.round(p * 100));
}

function enter(name) {
	var changed = name !== moment;
	moment = name;
	root.setAttribute("data-moment", name);
	show("heading", words.heading[name]);
	show("lead", words.lead[name]);
	if (name !== "in") link("");
	if (changed) tell(words.heading[name] + ". " + words.lead[name], true);
	return changed;
}

function draw() {
	var name = "waiting", inLine = view.place;
	if (view.state === "full") name = "full";
	else if (view.state === "closed") name = view.place ? "kept" : "closed";
	else if (view.position === 1) name = "next";
	else if (!view.position) name = "unknown";
	var changed = enter(name);
	show("position", view.position ? number(view.position) : "–");
	each("position", function (e) { e.setAttribute("data-digits", Math.min(String(view.position || 0).length, 8)); });
	show("among", view.waiting > 0 ? put(words.among, number(view.waiting)) : "");
	show("estimate", estimate(view.estimate_seconds));
	if (inLine && view.position && !changed)
		tell(put(words.news, number(view.position)).replace("{e}", estimate(view.estimate_seconds)), false);
	doc.title = name === "waiting" ? put(words.title, number(view.position)) : words.heading[name];
	progress();
}

// clock runs once a second while somebody looks.
function clock() {
	if (doc.hidden) return;
	var now = Date.now();
	if (now < heard) heard = now;
	var age = Math.floor((view.age_seconds || 0) + (now - heard) / 1000);
	show("updated", ago(age));
	trouble();
	// Timers may have been stopped together with the device.
	if (!stopped && due && now > due + 1500) ask();
	if (request && now - asked > TIMEOUT + 2000) broken();
}

var again = false;
function trouble() {
	var lost = fails > 1 || fails > 0 && navigator.onLine === false;
	var stale = !lost && view.place && (view.age_seconds || 0) > 20;
	if (root.classList.contains("lost") && !lost && fails === 0) tell(words.back, true);
	root.classList.toggle("lost", lost && !leaving && !stopped);
	var text = "";
	if (stopped || leaving) text = "";
	else if (lost) text = view.place ? words.lost : words.lostPlain;
	else if (stale) text = words.stale;
	else if (again) text = words.again;
	show("alert", text);
	if (lost || stale) tell(text, true);
}

// --- when to ask

// Browsers slow the timers of hidden tabs down to one a minute, but not those
// of workers. Where a worker may not be made, or dies, the page's own timer is
// there too; whichever rings first counts.
var worker = null, turns = 0, bell = {};
function ring(id) {
	var f = bell[id];
	delete bell[id];
	if (f) f();
}
try {
	worker = new Worker(URL.createObjectURL(new Blob(
		["onmessage=function(e){setTimeout(function(){postMessage(e.data[0])},e.data[1])}"], {type: "text/javascript"})));
	worker.onmessage = function (e) { ring(e.data); };
	worker.onerror = function (e) { e.preventDefault(); worker = null; };
} catch (e) {}

function later(ms, f) {
	var id = ++turns;
	bell[id] = f;
	if (worker) worker.postMessage([id, ms]);
	setTimeout(function () { ring(id); }, ms + (worker ? 250 : 0));
	return id;
}

var waiting = 0;
function plan(ms) {
	delete bell[waiting];
	if (stopped) { due = 0; return; }
	due = Date.now() + ms;
	waiting = later(ms, ask);
}

// soon asks at once because the visitor is back or the network is, but never
// more often than each SPACING.
function soon() {
	if (stopped) return;
	var since = Date.now() - asked;
	if (request && since < 5000) return; // on its way
	if (request) drop();                 // sent before the device slept
	if (since < 0) since = SPACING;
	var ms = Math.max(SPACING - since, 0);
	if (!due || due > Date.now() + ms) ms ? plan(ms) : ask();
}

// --- asking

function drop() {
	var r = request;
	request = null;
	if (r) try { r.abort(); } catch (e) {}
}

function ask() {
	if (request || stopped) return;
	delete bell[waiting];
	due = 0;
	asked = Date.now();
	var r = request = new XMLHttpRequest();
	var open = true;
	function end(f) {
		return function () {
			if (!open || request !== r) return;
			open = false;
			request = null;
			f(r);
		};
	}
	r.open("GET", "/.sluice/rooms/" + encodeURIComponent(view.room));
	r.timeout = TIMEOUT;
	r.setRequestHeader("Accept", "application/json");
	r.onload = end(answered);
	r.onerror = r.ontimeout = r.onabort = end(broken);
	r.send();
}

function answered(r) {
	var a = null;
	try { a = JSON.parse(r.responseText); } catch (e) {}
	if (r.status === 200 && a && typeof a.state === "string") {
		fails = refusals = 0;
		answers++;
		take(a);
		return;
	}
	// A room that is no more, or something in between that refuses the API but
	// perhaps not the page: after a few such answers load the page again, as a
	// page without script would.
	if (r.status >= 400 && r.status < 500 && r.status !== 408 && r.status !== 429) refusals++;
	if (refusals >= 3) {
		refusals = 0;
		go("refused");
		return;
	}
	broken(r);
}

function broken(r) {
	drop();
	fails++;
	var ms = Math.min(30000, 1000 * Math.pow(2, fails));
	var after = r && r.getResponseHeader ? Number(r.getResponseHeader("Retry-After")) : 0;
	if (after > 0) ms = Math.max(ms, Math.min(after, 60) * 1000);
	clock();
	plan(ms * (0.5 + Math.random()));
}

function take(a) {
	var slept = Date.now() - heard > LONG;
	if (a.state === "none") {
		none(slept);
		heard = Date.now();
		return;
	}
	heard = Date.now();
	if (a.state === "admitted") {
		view.state = a.state;
		enter("in");
		doc.title = words.heading["in"];
		progress();
		clock();
		keep("first", 0);
		go("let-in");
		return;
	}
	if (a.state !== "full" && a.state !== "closed") view.place = true;
	else if (a.state === "full") view.place = false;
	else if (a.position > 0) view.place = true;
	view.state = a.state;
	view.position = a.position > 0 ? a.position : null;
	view.waiting = a.waiting;
	view.estimate_seconds = a.estimate_seconds;
	view.age_seconds = a.age_seconds;
	if (typeof a.message === "string") show("message", a.message);
	draw();
	clock();
	var ms = 1000 * Math.min(Math.max(Number(a.poll_after_seconds) || 5, 0.5), 120);
	if (!view.place) ms = Math.max(ms, SLOW * (1 + Math.random() / 2));
	plan(ms);
}

// none: the gate saw no token of ours.
function none(slept) {
	if (!view.place) { // there may be room again; only loading the page joins
		go("join");
		return;
	}
	stopped = true;
	if (answers === 1 && !slept) { // the page has only just given us one
		enter("blocked");
		link(words.openAlone, "_top");
	} else if (slept) {
		enter("ended");
		keep("again", 1);
		keep("first", 0);
		leaving = true;
		later(1500, function () { leaving = false; go("join"); });
	} else { // left in another tab, perhaps on purpose
		enter("ended");
		link(words.join);
	}
	doc.title = words.heading[moment];
	clock();
	trouble();
}

// go loads the page again, or goes on where it must not be asked for twice. If
// that only led back here for the same reason, the next time is put off, so
// that no mistake in between turns into a storm.
function go(why) {
	if (leaving) return;
	leaving = stopped = true;
	var wait = Math.max(0, keep(why) + SLOW - Date.now());
	if (wait > SLOW) wait = SLOW;
	later(wait, function () {
		keep(why, Date.now());
		if (view.next) location.replace(view.next); else location.reload();
		later(8000, function () { link(words.goOn); });
	});
}

// --- start

root.classList.add("js");
show("site", location.host);
again = keep("again") > 0;
keep("again", 0);

if (view.state === "unavailable") {
	// Loading the page is the question. The more it failed, the longer until
	// the next, and the visitor may always ask by hand.
	var tries = keep("tries");
	if (loaded - keep("tried") > LONG) tries = 0;
	var reload = function () {
		if (navigator.onLine === false) { later(2000, reload); return; } // the browser's own error page would not come back
		keep("tries", tries + 1);
		keep("tried", Date.now());
		location.reload();
	};
	later(Math.min(view.poll_after_seconds * Math.pow(1.5, tries), 60) * 1000 * (1 + Math.random() / 4), reload);
	return;
}
progress();
clock();
setInterval(clock, 1000);
doc.addEventListener("visibilitychange", function () { if (!doc.hidden) { clock(); soon(); } });
window.addEventListener("online", soon);
window.addEventListener("offline", soon);
window.addEventListener("pageshow", function (e) {
	if (!e.persisted) return;
	leaving = stopped = false; // gone back to
	soon();
});
var ms = view.poll_after_seconds * 1000;
// Frames are where cookies are blocked: find out at once.
var framed = true;
try { framed = window.top !== window.self; } catch (e) {}
if (view.place && (framed || navigator.cookieEnabled === false)) ms = Math.min(ms, 1000);
if (!view.place) ms = Math.max(ms, SLOW * (1 + Math.random() / 2));
plan(ms);
})();
