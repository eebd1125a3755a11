// What every page draws with. Texts in templates are escaped; nothing here or in pages sets innerHTML.
// A `style` has to be an object ({width: '3rem'}): the policy that we are served under forbids style attributes.
export {
  html,
  render,
  Component,
  useState,
  useEffect,
  useLayoutEffect,
  useRef,
  useMemo,
  useCallback,
  useReducer,
} from '../vendor/preact-htm.js';
