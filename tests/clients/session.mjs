// The tokens of somebody who has signed in, for all tabs of a browser: traded before they end, once at a time.
const KEY = "duologue-session";
const MARGIN = 60_000;
// No token is traded so soon after it was given, unless the server refuses it: the clock of the device may be fast.
const REST = 10_000;
const REFRESH = `mutation ($token: String!) {
  refreshSession(refreshToken: $token) {
    accessToken accessTokenExpiresAt refreshToken userErrors { code message }
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
  keep({ accessToken, accessTokenExpiresAt, refreshToken }) {
    const ends = Math.max(Date.parse(accessTokenExpiresAt), Date.now() + MARGIN + REST);
    this.#hold({ accessToken, ends, refreshToken });
  }

  /** An access token that holds for some time; null if nobody is signed in any more. */
  async token() {
    const held = this.#held();
    if (!held || held.ends - Date.now() > MARGIN) return held?.accessToken ?? null;
    return this.#locks.request(KEY, async () => {
      // A refresh token works once. Who waited here finds what the first one got.
      const now = this.#held();
      if (now?.refreshToken !== held.refreshToken) return now?.accessToken ?? null;
      const { refreshSession } = await this.#ask(REFRESH, { token: held.refreshToken });
      if (refreshSession.accessToken) this.keep(refreshSession);
      else this.#store.removeItem(KEY);
      return refreshSession.accessToken;
    });
  }

  /** The server refused the access token (UNAUTHENTICATED, 4403): the next one to ask trades it. */
  distrust() {
    const held = this.#held();
    if (held) this.#hold({ ...held, ends: 0 });
  }

  #hold(tokens) {
    this.#store.setItem(KEY, JSON.stringify(tokens));
  }

  #held() {
    return JSON.parse(this.#store.getItem(KEY) ?? "null");
  }
}
