// Visitors of a waiting room, for k6: each comes to a gated page, is told to wait,
// asks as the waiting page's script does, is let in, looks around and leaves.
//
//   k6 run -e TARGET=http://127.0.0.1:8080 -e RATE=20 loadtest/k6/visitor.js
//
// An iteration is one visitor with a cookie jar and a connection of their own.
// Requests are tagged step: join, poll, reload (the page again, once let in), page,
// leave. Steps, metrics and thresholds are those of `sluice loadtest run`.
//
//   TARGET         the gate, http://127.0.0.1:8080
//   ROOM, PAGE     the room, "default", and the gated path that visitors come for, "/"
//                  (PAGE, for PATH is taken by the shell)
//   RATE           visitors that come per second, 10
//   DURATION       for how long they come, 30s
//   VUS            most of them at once, 500: all who wait or are inside. k6 makes them
//                  beforehand, a few hundred kB each
//   GRACEFUL_STOP  how long those who came are given to get through, 2m
//   PAGES          pages that each looks at once inside, the first included, 1
//   THINK_MIN, THINK_MAX  seconds spent on a page, 1 and 5
//   LEAVE          share that tells the gate that they go, 0; the others vanish
//
// A waiting page whose status the operator set to 503 counts as failed here: k6
// judges an answer by its status alone.
import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const joinDuration = new Trend('join_duration', true); // from coming to the answer that gave a place or let in
const waitDuration = new Trend('wait_duration', true); // from coming to the answer that let in
const joined = new Counter('sluice_joined'); // were given a place
const letIn = new Counter('sluice_admitted');
const left = new Counter('sluice_left'); // tagged how: left, vanished, expelled

function text(name, fallback, pattern, want) {
  const value = __ENV[name] === undefined || __ENV[name] === '' ? fallback : __ENV[name];
  if (!pattern.test(value)) throw new Error(`${name}=${value}: want ${want}`);
  return value;
}
function number(name, fallback, least, most) {
  const value = Number(text(name, String(fallback), /^\d+(\.\d+)?$/, 'a number'));
  if (value < least || value > most) throw new Error(`${name}=${value}: want ${least} to ${most}`);
  return value;
}
function count(name, fallback, least) {
  return Number(text(name, String(number(name, fallback, least, 1e7)), /^\d+$/, 'a whole number'));
}

const DURATION = /^(\d+(\.\d+)?(ms|s|m|h))+$/;
const target = text('TARGET', 'http://127.0.0.1:8080', /^https?:\/\/[^\/]+\/?$/, 'http://HOST:PORT').replace(/\/$/, '');
const room = text('ROOM', 'default', /^[a-z0-9-]{1,32}$/, '1 to 32 of a-z, 0-9 and -');
const page = target + text('PAGE', '/', /^\/[^\s#]*$/, 'a path');
const api = `${target}/.sluice/rooms/${room}`;
const pages = count('PAGES', 1, 0);
const leave = number('LEAVE', 0, 0, 1);
const thinkMin = number('THINK_MIN', 1, 0, 86400);
const thinkMax = number('THINK_MAX', Math.max(5, thinkMin), thinkMin, 86400);

export const options = {
  userAgent: 'Mozilla/5.0 (compatible; sluice-loadtest; k6)',
  noVUConnectionReuse: true, // the next visitor has another connection
  maxRedirects: 0, // where the shop sends visitors is the shop's answer
  scenarios: {
    visitors: {
      executor: 'constant-arrival-rate',
      rate: count('RATE', 10, 1),
      timeUnit: '1s',
      duration: text('DURATION', '30s', DURATION, 'a duration, as 30s'),
      preAllocatedVUs: count('VUS', 500, 1),
      gracefulStop: text('GRACEFUL_STOP', '2m', DURATION, 'a duration, as 2m'),
    },
  },
  thresholds: {
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{step:join}': ['p(99)<1000'],
    checks: ['rate==1'],
  },
};

// What a browser sends.
const NAVIGATION = {
  Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document', 'Sec-Fetch-Site': 'same-origin',
  'Upgrade-Insecure-Requests': '1', 'Accept-Encoding': 'gzip, deflate', 'Accept-Language': 'en',
};
const SCRIPT = {
  Accept: 'application/json', 'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty', 'Sec-Fetch-Site': 'same-origin',
  'Accept-Encoding': 'gzip, deflate', 'Accept-Language': 'en',
};

// Being told to wait, or being sent elsewhere by the shop, is no failure.
const pageOrWait = http.expectedStatuses({ min: 200, max: 399 }, 429);
const params = (step, headers, timeout, expected) => ({ headers, timeout, tags: { step }, responseCallback: expected });
const JOIN = params('join', NAVIGATION, '60s', pageOrWait);
const RELOAD = params('reload', NAVIGATION, '60s', pageOrWait);
const PAGE = params('page', NAVIGATION, '60s', pageOrWait);
const POLL = params('poll', SCRIPT, '20s', http.expectedStatuses(200));
const LEAVE = params('leave', SCRIPT, '20s', http.expectedStatuses(204));

export default function () {
  const v = { came: Date.now(), joined: false, inside: false, fails: 0, refusals: 0 };
  enter(v);
  shop(v);
}

// enter opens the page and waits until the visitor is in.
function enter(v) {
  let first = true;
  let polls = false; // or loads the page
  for (;;) {
    const a = polls ? poll() : navigate(first ? JOIN : RELOAD);
    if (a.failed) {
      if (polls && a.status >= 400 && a.status < 500 && a.status !== 408 && ++v.refusals >= 3) {
        v.refusals = 0; // something in between refuses the API, but perhaps not the page
        polls = false;
        continue;
      }
      sleep(broken(v, a));
      continue;
    }
    v.fails = v.refusals = 0;
    if (first) {
      first = false;
      joinDuration.add(Date.now() - v.came);
    }
    if (a.state === 'shop' || a.state === 'admitted') {
      if (come(v, a)) return;
      sleep(10); // as the page puts off what led back to it
      polls = false;
      continue;
    }
    if (a.state === 'none' && polls) { // only loading the page joins
      v.joined = false;
      sleep(a.after);
      polls = false;
      continue;
    }
    if (!v.joined && a.state !== 'none' && ticket()) {
      v.joined = true;
      joined.add(1);
    }
    let after = a.after;
    if ((a.state === 'full' || a.state === 'closed') && !v.joined) after = Math.max(after, 10 + 5 * Math.random());
    sleep(after);
    polls = true;
  }
}

// come goes in: by the answer itself if it is the shop's, else by loading the page
// again with the pass. It returns false if the page still says to wait.
function come(v, a) {
  if (!v.inside) {
    v.inside = true;
    letIn.add(1);
    waitDuration.add(Date.now() - v.came);
  }
  for (let tries = 0; a.state !== 'shop'; tries++) {
    a = navigate(RELOAD);
    if (!a.failed) return check(a, { 'a pass is honoured': (x) => x.state === 'shop' });
    if (tries === 5) break;
    sleep(broken(v, a));
  }
  return true;
}

// shop looks at pages from the one that the visitor came in by, and goes.
function shop(v) {
  for (let n = 0; n < pages; n++) {
    for (let tries = 0; n > 0; tries++) {
      const a = navigate(PAGE);
      if (!a.failed && a.state !== 'shop') {
        check(a, { 'a pass is honoured': () => false });
        left.add(1, { how: 'expelled' });
        return;
      }
      if (!a.failed || (a.status >= 400 && a.status < 500)) break; // the shop may have no such page
      if (tries === 3) {
        left.add(1, { how: 'vanished' });
        return;
      }
      sleep(broken(v, a));
    }
    sleep(thinkMin + Math.random() * (thinkMax - thinkMin));
  }
  const gone = Math.random() < leave && http.del(api, null, LEAVE).status === 204;
  left.add(1, { how: gone ? 'left' : 'vanished' });
}

// navigate loads the page and tells who answered: the shop, or else the gate and
// what it says.
function navigate(p) {
  const r = http.get(page, p);
  const said = r.headers['Sluice-State'];
  const a = { status: r.status, failed: false, state: 'shop', after: pause(Number(r.headers['Retry-After'])) };
  if ((said && said !== 'admitted') || (r.status === 429 && !said)) {
    a.state = said || 'waiting';
    const exact = /"poll_after_seconds":([0-9.]+)/.exec(r.body || '');
    if (exact) a.after = pause(Number(exact[1]));
  } else if (r.status === 0 || r.status >= 400) {
    a.failed = true;
    a.after = Number(r.headers['Retry-After']);
  }
  return a;
}

// poll asks the visitor API.
function poll() {
  const r = http.get(api, POLL);
  const failed = { status: r.status, failed: true, after: Number(r.headers['Retry-After']) };
  if (r.status !== 200) return failed;
  try {
    const said = JSON.parse(r.body);
    if (typeof said.state !== 'string') return failed;
    return { status: r.status, failed: false, state: said.state, after: pause(Number(said.poll_after_seconds)) };
  } catch (e) {
    return failed;
  }
}

// pause is how long the page's script waits when it is told to, in seconds.
const pause = (seconds) => Math.min(Math.max(seconds || 5, 0.5), 120);

// broken is how long it waits after a question that failed.
function broken(v, a) {
  v.fails++;
  let seconds = Math.min(30, Math.pow(2, v.fails));
  if (a.after > 0) seconds = Math.max(seconds, Math.min(a.after, 60));
  return seconds * (0.5 + Math.random());
}

const ticket = () => http.cookieJar().cookiesForURL(page)[`sluice-${room}`] !== undefined;
