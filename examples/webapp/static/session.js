// Requests that outlive the access token: the user of a page never notices that it has expired.

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

// What the server says is wrong with the token; null if it has nothing against it.
async function refusal(answer) {
  if (answer.status !== 401) return null;
  return (await answer.clone().json()).error_type;
}

function check(answer, what) {
  if (!answer.ok) throw new Error(`${what}: ${answer.status}`);
  return answer;
}

// Leaves for the log-in page, which comes back here. Whoever waits for it goes with the page.
function leave(type, next, go = (url) => location.assign(url)) {
  const why = type === "RevokedTokenError" ? "ended" : "needed";
  go(`/login?${new URLSearchParams({ next, why })}`);
  return new Promise(() => {});
}

// Gets a new access token: null, or what is wrong with the refresh token.
// One at a time in this tab. Another tab's may run beside it: the server answers the refresh token
// that has just been given up for a moment longer.
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

// The answer to a request, sent again with a new access token if that was all that it lacked.
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

// Goes on to a page with a new access token. No step is left for the back button to come back to.
export async function goOn(next) {
  const go = (url) => location.replace(url);
  const type = await renew();
  if (type !== null) return leave(type, next, go);
  go(next);
}

// Ends the login with whichever token there is still.
export async function signOut() {
  const csrf = cookie("csrf_access_token") ?? cookie("csrf_refresh_token");
  const answer = await ask("POST", "/auth/logout", csrf);
  if (answer.status !== 401) check(answer, "sign-out");
}
