// What loadtest/k6/compare runs in k6: visitor.js, with its measures by step written
// to the file SUMMARY. compare.yaml asks the native harness for the same ones.
import { options as visitors } from './visitor.js';
export { default } from './visitor.js';

const thresholds = {};
for (const step of ['join', 'poll', 'reload', 'page', 'leave']) {
  thresholds[`http_reqs{step:${step}}`] = ['count>=0']; // holds always: k6 tells of a selection only what a threshold names
  thresholds[`http_req_duration{step:${step}}`] = ['max>=0'];
}

export const options = Object.assign({}, visitors, {
  thresholds,
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(95)', 'p(99)', 'count'],
});

export function handleSummary(data) {
  return { [__ENV.SUMMARY]: JSON.stringify(data) };
}
