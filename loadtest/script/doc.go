// Package script reads what a rehearsal is to do: one YAML or JSON file with
// k6's option names. Everything wrong in it is told at once, with line and
// column.
//
//	target: http://127.0.0.1:8080      # or targets: [..], the gates
//	room: drop
//	path: /drop                        # where visitors arrive
//	journey: {think: 2s}               # of scenarios that name none; the visitor's own words
//	journeys: {buyer: {..}}            # by name, for exec
//	scenarios:
//	  spike:
//	    executor: constant-arrival-rate
//	    rate: 8000
//	    duration: 10s
//	    preAllocatedVUs: 80000
//	    gracefulStop: 3m
//	    exec: buyer                    # or journey: {..} of its own
//	    tags: {wave: first}
//	thresholds:
//	  http_req_failed: ["rate==0"]
//	  "http_req_duration{step:join}":
//	    - {threshold: "p(99)<1000", abortOnFail: true, delayAbortEval: 5s}
//
// Without scenarios the shortcuts vus, duration, iterations and stages make one,
// named default, as in k6. A duration is 1m30s, 2d or a number of milliseconds.
// ${NAME} in a value is replaced from the scenario's env, else from the
// environment; it must be set. $$ is a dollar.
package script
