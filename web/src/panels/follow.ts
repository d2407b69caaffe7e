// Hooks of the panels that show what comes: sticking to the end, and a person's settings.
//
// The law of this file: whoever reads is not moved. The end is followed while one stands at it;
// going up stops that, at once; going back to the end begins it again.
import { useCallback, useEffect, useLayoutEffect, useRef, useState, type RefObject } from "react";

const AT_END_PX = 6;

export interface Following {
  following: boolean;
  follow: (on: boolean) => void;
}

/** Stick to the end of something that scrolls. */
export function useFollow(scroller: RefObject<HTMLElement | null>, initially: boolean): Following {
  const [following, setFollowing] = useState(initially);
  const now = useRef(following);
  const lastTop = useRef(0);
  const follow = useCallback((on: boolean) => {
    now.current = on;
    setFollowing(on);
  }, []);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element || !now.current) return;
    const { scrollTop, scrollHeight, clientHeight } = element;
    if (scrollTop < lastTop.current - 1 && scrollHeight - clientHeight - scrollTop > AT_END_PX) {
      follow(false); // it was scrolled, and is drawn before anybody is told so
      lastTop.current = scrollTop;
      return;
    }
    element.scrollTop = element.scrollHeight;
    lastTop.current = element.scrollTop;
  });

  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const set = (on: boolean) => on !== now.current && follow(on);
    const scrolled = () => {
      const top = element.scrollTop;
      const left = element.scrollHeight - element.clientHeight - top;
      if (left < AT_END_PX) set(true);
      else if (top < lastTop.current) set(false);
      lastTop.current = top;
    };
    const wheeled = (event: WheelEvent) => {
      if (event.deltaY < 0 && element.scrollTop > 0) set(false);
    };
    const resized = new ResizeObserver(() => {
      if (now.current) element.scrollTop = element.scrollHeight;
    });
    resized.observe(element);
    element.addEventListener("scroll", scrolled, { passive: true });
    element.addEventListener("wheel", wheeled, { passive: true });
    return () => {
      resized.disconnect();
      element.removeEventListener("scroll", scrolled);
      element.removeEventListener("wheel", wheeled);
    };
  }, [scroller, follow]);
  return { following, follow };
}

/** A setting of this browser: kept, and never needed. */
export function useStored(name: string, initially: boolean): [boolean, (value: boolean) => void] {
  const key = `tailrace.${name}`;
  const [value, setValue] = useState(() => {
    try {
      return (localStorage.getItem(key) ?? String(initially)) === "true";
    } catch {
      return initially;
    }
  });
  const set = (next: boolean) => {
    setValue(next);
    try {
      localStorage.setItem(key, String(next));
    } catch {
      // A browser that keeps nothing forgets it with the page.
    }
  };
  return [value, set];
}
