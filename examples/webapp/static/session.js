// Sends requests. If the access token has expired, renews it and sends the request again.

const RENEWABLE = new Set(["TokenExpiredError", "MissingTokenError"]);
let renewal = null;

function cookie(name) {
  const found = document.cookie.split("; ").find((one) => one.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

function ask(method, path, csrf, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET" && csrf) headers["X-CSRF-TOKEN"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(path, { method, headers, body: body && JSON.stringify(body) });
}

// The error_type of a refused token; null if the token was accepted.
async function refusal(answer) {
  if (answer.status !== 401) return null;
  return (await answer.clone().json()).error_type;
}

function check(answer, what) {
  if (!answer.ok) throw new Error(`${what}: ${answer.status}`);
  return answer;
}

// Opens the sign-in page, which comes back here. The promise stays pending until this page is left.
function leave(type, next, go = (url) => location.assign(url)) {
  const why = type === "RevokedTokenError" ? "revoked" : "needed";
  go(`/login?${new URLSearchParams({ next, why })}`);
  return new Promise(() => {});
}

// Refreshes the tokens: null, or the error_type of the refresh token.
// One refresh at a time in this tab. Another tab may refresh at the same time: the server accepts a
// refresh token that has just been replaced for some seconds (JWT_REFRESH_GRACE).
async function renew() {
  renewal ??= ask("POST", "/auth/refresh", cookie("csrf_refresh_token")).finally(() => {
    renewal = null;
  });
  const answer = await renewal;
  if (answer.status === 403) return "CSRFError";
  const type = await refusal(answer);
  if (type === null) check(answer, "refresh");
  return type;
}

// The answer to a request. If the access token has expired, the request is sent again with a new one.
export async function send(method, path, body) {
  const once = () => ask(method, path, cookie("csrf_access_token"), body);
  let answer = await once();
  let type = await refusal(answer);
  if (RENEWABLE.has(type)) {
    type = await renew();
    if (type === null) {
      answer = await once();
      type = await refusal(answer);
    }
  }
  if (type !== null) return leave(type, location.pathname);
  return check(answer, `${method} ${path}`);
}

// Continues to a page with a new access token. The back button skips the page in between.
export async function continueTo(next) {
  const go = (url) => location.replace(url);
  const type = await renew();
  if (type !== null) return leave(type, next, go);
  go(next);
}

// Revokes the session, with the access token or the refresh token.
export async function signOut() {
  const csrf = cookie("csrf_access_token") ?? cookie("csrf_refresh_token");
  const answer = await ask("POST", "/auth/logout", csrf);
  if (answer.status !== 401) check(answer, "sign-out");
}
