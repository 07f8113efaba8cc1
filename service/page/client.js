// Requests to the service: one at a time per view, and none about a state that has changed.

const KEY = "anyview-key";
/** Characters that a header can carry. */
const FIT = /^[!-~]+$/;

/** The service refused a request; the message is the one of the response. */
export class Refused extends Error {
  constructor(status, detail, { seconds = 0, key = null } = {}) {
    super(detail);
    this.status = status;
    this.seconds = seconds;
    this.key = key; // the one that the request carried
  }
}

/** The service did not answer, or is not ready. */
export class Away extends Error {}

/** Sends this key with every request, until the tab is closed. */
export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

export const currentKey = () => sessionStorage.getItem(KEY);

function headers(key, more) {
  return FIT.test(key ?? "") ? { authorization: `Bearer ${key}`, ...more } : more;
}

/** A response that is one, or an error that says why there is none. */
export async function ask(path, options = {}) {
  const key = currentKey();
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(key, options.headers ?? {}) });
  } catch {
    throw new Away("The service does not answer.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail ?? `${response.status} ${response.statusText}`;
  if ([502, 503, 504].includes(response.status)) throw new Away(detail);
  throw new Refused(response.status, detail, { seconds: Number(response.headers.get("retry-after") ?? 0), key });
}

export async function askJson(path, options) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch {
    throw new Away("The service stopped in the middle of an answer.");
  }
}

export function post(path, body, more = {}) {
  const own = body ? { "content-type": "application/json", ...more } : more;
  return { method: "POST", headers: own, body: body ? JSON.stringify(body) : undefined };
}

/**
 * A view with at most one request in flight. Changes during a request lead to one more, about the latest state: a fast
 * drawing gets answers as fast as they come, without a queue of old ones.
 */
export class Latest {
  #wanted = false;
  #busy = false;

  /** Arguments: put, which makes the question; answer, show and fail, what is done with it. */
  constructor({ put, answer, show, fail }) {
    Object.assign(this, { put, answer, show, fail });
  }

  want() {
    this.#wanted = true;
    if (!this.#busy) this.#run();
  }

  async #run() {
    this.#busy = true;
    await undefined; // what else the same event changes is asked about as well
    try {
      while (this.#wanted) await this.#once();
    } finally {
      this.#busy = false;
    }
  }

  async #once() {
    this.#wanted = false;
    const question = this.put();
    try {
      this.show(await this.answer(question), question);
    } catch (error) {
      this.fail(error, question);
      if (error.seconds) await new Promise((done) => setTimeout(done, 1000 * error.seconds));
      this.#wanted ||= error.seconds > 0;
    }
  }
}

/** Looks every few seconds whether the service is there, and says when that changes. */
export class Watch {
  #here = true;

  constructor(onchange) {
    this.onchange = onchange;
    setInterval(() => document.hidden || this.look(), 2500);
  }

  /** A request was not answered. */
  lost(reason) {
    this.#tell(false, reason);
  }

  async look() {
    try {
      await ask("readyz");
      this.#tell(true);
    } catch (error) {
      this.#tell(false, error.message);
    }
  }

  #tell(here, reason) {
    if (here === this.#here) return;
    this.#here = here;
    this.onchange(here, reason);
  }
}

/** The address of an operation, with the query of a question; `more` replaces parameters. */
export function path(asked, operation, more = {}) {
  const query = new URLSearchParams({ ...asked[operation], ...more }).toString().replaceAll("%2C", ",");
  return `models/${asked.model}/${operation}?${query}`;
}
