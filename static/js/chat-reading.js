// Reader first: the page follows the answer only while its end is in sight; otherwise a button says that it grew.

const NEAR = 48; // pixels from the end that still count as being there

export function reading(log, below) {
  let follows = true;
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  const toEnd = () => {
    log.scrollTop = log.scrollHeight;
    below.hidden = true;
  };
  let height = log.scrollHeight;

  log.addEventListener("scroll", () => {
    follows = atEnd();
    if (follows) {
      below.hidden = true;
    }
  });
  below.addEventListener("click", () => {
    toEnd();
    log.focus();
  });
  toEnd();

  return {
    before() {
      height = log.scrollHeight;
    },
    after() {
      if (follows) {
        toEnd();
      } else if (log.scrollHeight > height) {
        below.hidden = false;
      }
    },
    follow() {
      follows = true;
      toEnd();
    },
  };
}
