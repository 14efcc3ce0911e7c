// The tokens of a user who has signed in, for all tabs of a browser: refreshed before they expire, by one tab at a time.
const KEY = "duologue-session";
const EXPIRY_MARGIN = 60_000;
// No token is refreshed so soon after it was issued, unless the server refuses it: its lifetime may be shorter than the margin.
const MIN_REFRESH_INTERVAL = 10_000;
// A lost answer can be requested again for ten seconds.
const TRIES = 3;
// A tab that sleeps may keep the lock: after this time others do without.
const LOCK_TIMEOUT = 5_000;
const REFRESH = `mutation ($token: String!) {
  refreshSession(refreshToken: $token) {
    accessToken refreshToken userErrors { code message }
  }
}`;

/**
 * `ask` sends a document without a token, and fails after four seconds, so that a second try comes in time; `storage` is
 * localStorage, and `locks` is navigator.locks: all tabs share both.
 */
export class Session {
  #ask;
  #storage;
  #locks;

  constructor(ask, storage, locks) {
    this.#ask = ask;
    this.#storage = storage;
    this.#locks = locks;
  }

  /** Stores the tokens that signIn, signUp or refreshSession gave. */
  keep({ accessToken, refreshToken }) {
    const ends = Date.now() + Math.max(lifetime(accessToken), EXPIRY_MARGIN + MIN_REFRESH_INTERVAL);
    this.#store({ accessToken, ends, refreshToken });
  }

  /** An access token that is valid for some time; null if nobody is signed in any more. */
  async token() {
    const stored = this.#stored();
    if (!stored || stored.ends - Date.now() > EXPIRY_MARGIN) return stored?.accessToken ?? null;
    await this.#withLock(async () => {
      const isStored = () => this.#stored()?.refreshToken === stored.refreshToken;
      // A refresh token works once. A tab that waited here finds what the first one stored.
      if (!isStored()) return;
      const answer = await this.#refresh(stored.refreshToken, isStored);
      // The user has signed out meanwhile, or another one has signed in; or another tab was faster.
      if (!answer || !isStored()) return;
      if (answer.accessToken) this.keep(answer);
      else this.#storage.removeItem(KEY);
    });
    return this.accessToken;
  }

  /** The server refused this access token (UNAUTHENTICATED, 4403): the next `token()` refreshes it, unless another is stored by now. */
  invalidate(accessToken) {
    const stored = this.#stored();
    if (stored?.accessToken === accessToken) this.#store({ ...stored, ends: 0 });
  }

  /** The access token as it is, which may have expired; null if nobody is signed in. */
  get accessToken() {
    return this.#stored()?.accessToken ?? null;
  }

  /** Null once the token is not stored any more: if a tab that slept since the last try used it, the session would end for all. */
  async #refresh(token, isStored) {
    for (let tries = 1; isStored(); tries++) {
      try {
        return (await this.#ask(REFRESH, { token })).refreshSession;
      } catch (failure) {
        if (tries === TRIES) throw failure;
      }
    }
    return null;
  }

  /** Runs it in one tab at a time. */
  #withLock(run) {
    let running;
    const once = () => (running ??= run());
    return this.#locks.request(KEY, { signal: AbortSignal.timeout(LOCK_TIMEOUT) }, once).catch(once);
  }

  #store(tokens) {
    this.#storage.setItem(KEY, JSON.stringify(tokens));
  }

  #stored() {
    return JSON.parse(this.#storage.getItem(KEY) ?? "null");
  }
}

/** The lifetime of a new access token, in milliseconds: the clock of the device may differ from the server's. */
function lifetime(accessToken) {
  const [, claims] = accessToken.split(".");
  const { iat, exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  return (exp - iat) * 1_000;
}
