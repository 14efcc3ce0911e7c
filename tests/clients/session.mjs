// The tokens of somebody who has signed in, for all tabs of a browser: traded before they end, once at a time.
const KEY = "duologue-session";
const MARGIN = 60_000;
// No token is traded so soon after it was given, unless the server refuses it: it may hold for less than that.
const REST = 10_000;
// The server gives an answer that was lost again for ten seconds.
const TRIES = 3;
// A tab that sleeps may hold the lock: after this time it is done without.
const PATIENCE = 5_000;
const REFRESH = `mutation ($token: String!) {
  refreshSession(refreshToken: $token) {
    accessToken refreshToken userErrors { code message }
  }
}`;

/**
 * `ask` sends a document without a token, and fails after four seconds, so that a second try comes in time; `store` is
 * localStorage, and `locks` is navigator.locks: all tabs share both.
 */
export class Session {
  #ask;
  #store;
  #locks;

  constructor(ask, store, locks) {
    this.#ask = ask;
    this.#store = store;
    this.#locks = locks;
  }

  /** Keeps the tokens that signIn, signUp or refreshSession gave. */
  keep({ accessToken, refreshToken }) {
    const ends = Date.now() + Math.max(lifetime(accessToken), MARGIN + REST);
    this.#hold({ accessToken, ends, refreshToken });
  }

  /** An access token that holds for some time; null if nobody is signed in any more. */
  async token() {
    const held = this.#held();
    if (!held || held.ends - Date.now() > MARGIN) return held?.accessToken ?? null;
    await this.#alone(async () => {
      const isHeld = () => this.#held()?.refreshToken === held.refreshToken;
      // A refresh token works once. Who waited here finds what the first one got.
      if (!isHeld()) return;
      const answer = await this.#trade(held.refreshToken, isHeld);
      // Somebody has signed out meanwhile, or in as somebody else; or another tab was faster.
      if (!answer || !isHeld()) return;
      if (answer.accessToken) this.keep(answer);
      else this.#store.removeItem(KEY);
    });
    return this.accessToken;
  }

  /** The server refused this access token (UNAUTHENTICATED, 4403): unless another is held by now, the next to ask trades it. */
  distrust(accessToken) {
    const held = this.#held();
    if (held?.accessToken === accessToken) this.#hold({ ...held, ends: 0 });
  }

  /** The access token as it is, which may have ended; null if nobody is signed in. */
  get accessToken() {
    return this.#held()?.accessToken ?? null;
  }

  /** Null once the token is not held any more: a tab that slept since the last try would end the session of the others with it. */
  async #trade(token, isHeld) {
    for (let tries = 1; isHeld(); tries++) {
      try {
        return (await this.#ask(REFRESH, { token })).refreshSession;
      } catch (failure) {
        if (tries === TRIES) throw failure;
      }
    }
    return null;
  }

  /** Runs it in one tab at a time. */
  #alone(run) {
    let running;
    const once = () => (running ??= run());
    return this.#locks.request(KEY, { signal: AbortSignal.timeout(PATIENCE) }, once).catch(once);
  }

  #hold(tokens) {
    this.#store.setItem(KEY, JSON.stringify(tokens));
  }

  #held() {
    return JSON.parse(this.#store.getItem(KEY) ?? "null");
  }
}

/** How long a new access token holds, in milliseconds: the clock of the device may be another than the server's. */
function lifetime(accessToken) {
  const [, claims] = accessToken.split(".");
  const { iat, exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  return (exp - iat) * 1_000;
}
